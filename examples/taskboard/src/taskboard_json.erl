%% JSON (RFC 8259) as far as a board needs it: objects, arrays, strings, integers, true, false and null. Other numbers
%% are refused. Pure.
%%
%% An object is a map; its names are binaries, and so are strings. Atoms and maps with atoms as names can be encoded
%% too, and decoding makes none.
-module(taskboard_json).

-export([encode/1, decode/1]).

-export_type([value/0]).

-type value() :: #{atom() | binary() => value()} | [value()] | binary() | integer() | atom().

-spec encode(value()) -> iodata().
encode(Object) when is_map(Object) ->
    [${, lists:join($,, [[encode(name(Name)), $:, encode(Value)] || {Name, Value} <- maps:to_list(Object)]), $}];
encode(Array) when is_list(Array) ->
    [$[, lists:join($,, [encode(Value) || Value <- Array]), $]];
encode(Integer) when is_integer(Integer) ->
    integer_to_binary(Integer);
encode(Literal) when Literal =:= true; Literal =:= false; Literal =:= null ->
    atom_to_binary(Literal);
encode(Atom) when is_atom(Atom) ->
    encode(atom_to_binary(Atom));
encode(String) when is_binary(String) ->
    [$", [escape(Byte) || <<Byte>> <= String], $"].

name(Name) when is_atom(Name) -> atom_to_binary(Name);
name(Name) when is_binary(Name) -> Name.

escape($") -> <<"\\\"">>;
escape($\\) -> <<"\\\\">>;
escape(Byte) when Byte < $\s -> io_lib:format("\\u~4.16.0b", [Byte]);
escape(Byte) -> Byte.

-spec decode(binary()) -> {ok, value()} | error.
decode(Text) ->
    try value(Text) of
        {Value, Rest} ->
            case skip(Rest) of
                <<>> -> {ok, Value};
                _ -> error
            end
    catch
        throw:not_json -> error
    end.

value(Text) ->
    case skip(Text) of
        <<"{", Rest/binary>> -> object(skip(Rest), #{});
        <<"[", Rest/binary>> -> array(skip(Rest), []);
        <<"\"", Rest/binary>> -> string(Rest, <<>>);
        <<"true", Rest/binary>> -> {true, Rest};
        <<"false", Rest/binary>> -> {false, Rest};
        <<"null", Rest/binary>> -> {null, Rest};
        <<"-", Rest/binary>> -> negative(integer(Rest, <<>>));
        Rest -> integer(Rest, <<>>)
    end.

object(<<"}", Rest/binary>>, Empty) when Empty =:= #{} ->
    {Empty, Rest};
object(<<"\"", Rest0/binary>>, Object0) ->
    {Name, Rest1} = string(Rest0, <<>>),
    {Value, Rest2} = value(expect($:, skip(Rest1))),
    Object = Object0#{Name => Value},
    case skip(Rest2) of
        <<"}", Rest/binary>> -> {Object, Rest};
        Rest -> member(skip(expect($,, Rest)), Object)
    end;
object(_, _) ->
    throw(not_json).

%% After a comma there is a member.
member(Text = <<"\"", _/binary>>, Object) -> object(Text, Object);
member(_, _) -> throw(not_json).

array(<<"]", Rest/binary>>, []) ->
    {[], Rest};
array(Text, Values) ->
    {Value, Rest0} = value(Text),
    case skip(Rest0) of
        <<"]", Rest/binary>> -> {lists:reverse(Values, [Value]), Rest};
        Rest -> array(expect($,, Rest), [Value | Values])
    end.

string(<<"\"", Rest/binary>>, String) ->
    {String, Rest};
string(<<"\\u", High:4/binary, "\\u", Low:4/binary, Rest/binary>>, String) ->
    case {unit(High), unit(Low)} of
        {H, L} when H >= 16#D800, H < 16#DC00, L >= 16#DC00, L < 16#E000 ->
            Character = 16#10000 + ((H - 16#D800) bsl 10) + (L - 16#DC00),
            string(Rest, <<String/binary, Character/utf8>>);
        {H, _} ->
            string(<<"\\u", Low/binary, Rest/binary>>, append(H, String))
    end;
string(<<"\\u", Unit:4/binary, Rest/binary>>, String) ->
    string(Rest, append(unit(Unit), String));
string(<<"\\", Letter, Rest/binary>>, String) ->
    string(Rest, <<String/binary, (unescape(Letter))>>);
string(<<Character/utf8, Rest/binary>>, String) when Character >= $\s ->
    string(Rest, <<String/binary, Character/utf8>>);
string(_, _) ->
    throw(not_json).

unit(Hex) ->
    try binary:decode_hex(Hex) of
        <<Unit:16>> -> Unit
    catch
        error:badarg -> throw(not_json)
    end.

%% A surrogate without its other half is no character.
append(Unit, _String) when Unit >= 16#D800, Unit < 16#E000 -> throw(not_json);
append(Unit, String) -> <<String/binary, Unit/utf8>>.

unescape($b) -> $\b;
unescape($f) -> $\f;
unescape($n) -> $\n;
unescape($r) -> $\r;
unescape($t) -> $\t;
unescape(Letter) when Letter =:= $"; Letter =:= $\\; Letter =:= $/ -> Letter;
unescape(_) -> throw(not_json).

negative({Integer, Rest}) -> {-Integer, Rest}.

integer(<<Digit, Rest/binary>>, Digits) when Digit >= $0, Digit =< $9, byte_size(Digits) < 16, Digits =/= <<"0">> ->
    integer(Rest, <<Digits/binary, Digit>>);
integer(_, <<>>) ->
    throw(not_json);
integer(Rest, Digits) ->
    {binary_to_integer(Digits), Rest}.

expect(Byte, <<Byte, Rest/binary>>) -> Rest;
expect(_, _) -> throw(not_json).

skip(<<Space, Rest/binary>>) when Space =:= $\s; Space =:= $\t; Space =:= $\r; Space =:= $\n -> skip(Rest);
skip(Rest) -> Rest.
