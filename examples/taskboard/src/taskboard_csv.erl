%% CSV (RFC 4180): rows of fields. Lines end with CRLF or LF; a field in quotes may contain line ends. Pure.
-module(taskboard_csv).

-export([encode/1, decode/1]).

-spec encode([[iodata()]]) -> iodata().
encode(Rows) ->
    [[lists:join($,, [field(Field) || Field <- Row]), "\r\n"] || Row <- Rows].

field(Field) ->
    case re:run(Field, "[,\"\r\n]", [{capture, none}]) of
        match -> [$", re:replace(Field, "\"", "\"\"", [global]), $"];
        nomatch -> Field
    end.

%% `{error, Row}` tells the number of the row, counted from 1, that has a quote where none may be, or lacks one.
-spec decode(binary()) -> {ok, [[binary()]]} | {error, pos_integer()}.
decode(Text) ->
    try
        {ok, rows(Text, 1)}
    catch
        throw:Row -> {error, Row}
    end.

rows(<<>>, _) ->
    [];
rows(Text, Number) ->
    {Row, Rest} = row(Text, [], Number),
    [Row | rows(Rest, Number + 1)].

row(<<"\"", Text/binary>>, Fields, Number) ->
    quoted(Text, <<>>, Fields, Number);
row(Text, Fields, Number) ->
    plain(Text, <<>>, Fields, Number).

plain(<<"\"", _/binary>>, _, _, Number) -> throw(Number);
plain(<<Byte, Rest/binary>>, Field, Fields, Number) when Byte =/= $,, Byte =/= $\r, Byte =/= $\n ->
    plain(Rest, <<Field/binary, Byte>>, Fields, Number);
plain(Rest, Field, Fields, Number) ->
    next(Rest, [Field | Fields], Number).

quoted(<<"\"\"", Rest/binary>>, Field, Fields, Number) ->
    quoted(Rest, <<Field/binary, "\"">>, Fields, Number);
quoted(<<"\"", Rest/binary>>, Field, Fields, Number) ->
    next(Rest, [Field | Fields], Number);
quoted(<<Byte, Rest/binary>>, Field, Fields, Number) ->
    quoted(Rest, <<Field/binary, Byte>>, Fields, Number);
quoted(<<>>, _, _, Number) ->
    throw(Number).

next(<<",", Rest/binary>>, Fields, Number) -> row(Rest, Fields, Number);
next(<<"\r\n", Rest/binary>>, Fields, _) -> {lists:reverse(Fields), Rest};
next(<<"\n", Rest/binary>>, Fields, _) -> {lists:reverse(Fields), Rest};
next(<<>>, Fields, _) -> {lists:reverse(Fields), <<>>};
next(_, _, Number) -> throw(Number).
