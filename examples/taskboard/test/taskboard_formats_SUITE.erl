%% JSON and CSV, as the board reads and writes them.
-module(taskboard_formats_SUITE).
-include_lib("stdlib/include/assert.hrl").

-export([all/0]).
-export([json_is_read_as_it_was_written/1, what_is_not_json_is_refused/1]).
-export([csv_is_read_as_it_was_written/1, what_is_not_csv_is_refused_with_its_row/1]).

all() ->
    [
        json_is_read_as_it_was_written,
        what_is_not_json_is_refused,
        csv_is_read_as_it_was_written,
        what_is_not_csv_is_refused_with_its_row
    ].

json_is_read_as_it_was_written(_Config) ->
    Values = [0, -7, 42, true, false, null, <<>>, <<"\"\\/\b\f\n\r\t", 0, 127, "é水😀"/utf8>>, [], [1, [2]], #{}],
    Object = #{<<"values">> => Values, <<"in">> => #{<<"a">> => 1}},
    ?assertEqual({ok, Object}, taskboard_json:decode(iolist_to_binary(taskboard_json:encode(Object)))),
    ?assertEqual(
        {ok, #{<<"a">> => [1, <<"\b\f\n\r\t/\\\"", "é"/utf8>>]}},
        taskboard_json:decode(<<" { \"a\" :\t[ 1 ,\r\n\"\\b\\f\\n\\r\\t\\/\\\\\\\"\\u00E9\" ] } ">>)
    ).

what_is_not_json_is_refused(_Config) ->
    Texts = [
        <<>>, <<"{">>, <<"[1,]">>, <<"{\"a\":1,}">>, <<"{\"a\"}">>, <<"{1:2}">>, <<"[1 2]">>, <<"1 2">>, <<"01">>, <<"1.5">>,
        <<"-">>, <<"+1">>, <<"nul">>, <<"'a'">>, <<"\"a">>, <<"\"\n\"">>, <<"\"\\x\"">>, <<"\"\\u00g0\"">>, <<"\"\\u+123\"">>,
        <<"\"\\ud83d\"">>, <<"\"\\ud83d\\u0041\"">>, <<"\"\\ude00\"">>, <<$", 255, $">>
    ],
    [?assertEqual({Text, error}, {Text, taskboard_json:decode(Text)}) || Text <- Texts].

csv_is_read_as_it_was_written(_Config) ->
    Rows = [[<<"a">>, <<>>, <<"b c">>], [<<"\"">>, <<"d,e">>, <<"f\r\ng">>], [<<>>, <<>>]],
    ?assertEqual({ok, Rows}, taskboard_csv:decode(iolist_to_binary(taskboard_csv:encode(Rows)))),
    ?assertEqual({ok, [[<<"a">>], [<<"b">>, <<>>]]}, taskboard_csv:decode(<<"a\nb,">>)).

what_is_not_csv_is_refused_with_its_row(_Config) ->
    [
        ?assertEqual({Text, {error, Row}}, {Text, taskboard_csv:decode(Text)})
     || {Row, Text} <- [{1, <<"a\"b\n">>}, {2, <<"a\n\"b\"c\n">>}, {2, <<"a\n\"b\n\n">>}, {1, <<"a\rb">>}]
    ].
