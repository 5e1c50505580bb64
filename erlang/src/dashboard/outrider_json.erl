%%% Terms as JSON (RFC 8259), for the messages of outrider_dashboard: OTP has had a module for it only since 27.
%%%
%%% Maps are objects, lists arrays, binaries and atoms strings, undefined is null. Bytes that are no UTF-8, as a client may put into a
%%% path, become U+FFFD one by one. What a browser could take for markup or the end of a script is escaped although JSON
%%% does not ask for it.
-module(outrider_json).

-export([encode/1]).
-export_type([json/0]).

-type json() :: #{atom() | binary() => json()} | [json()] | binary() | number() | atom().

-spec encode(json()) -> iodata().
encode(true) -> <<"true">>;
encode(false) -> <<"false">>;
encode(undefined) -> <<"null">>;
encode(Atom) when is_atom(Atom) -> encode(atom_to_binary(Atom));
encode(Integer) when is_integer(Integer) -> integer_to_binary(Integer);
encode(Float) when is_float(Float) -> float_to_binary(Float, [{decimals, 3}, compact]);
encode(Binary) when is_binary(Binary) -> [$", string(Binary), $"];
encode(List) when is_list(List) -> [$[, lists:join($,, [encode(Element) || Element <- List]), $]];
encode(Map) when is_map(Map) -> [${, lists:join($,, [[key(Key), $:, encode(Value)] || {Key, Value} <- maps:to_list(Map)]), $}].

key(Key) when is_atom(Key) -> encode(atom_to_binary(Key));
key(Key) when is_binary(Key) -> encode(Key).

string(Binary) ->
    << <<(character(C))/binary>> || C <- characters(Binary) >>.

characters(<<C/utf8, Rest/binary>>) -> [C | characters(Rest)];
characters(<<_, Rest/binary>>) -> [16#fffd | characters(Rest)];
characters(<<>>) -> [].

character($") -> <<"\\\"">>;
character($\\) -> <<"\\\\">>;
character(C) when C < $\s; C =:= $<; C =:= $>; C =:= $&; C =:= $'; C =:= 16#7f; C =:= 16#2028; C =:= 16#2029 ->
    iolist_to_binary(io_lib:format("\\u~4.16.0b", [C]));
character(C) -> <<C/utf8>>.
