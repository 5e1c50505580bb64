%% What the suites of HTTP/2 on the wire have in common.
-module(http2_case).

-export([served/2, served/3, body/0, reply/2, get/2, status/1, floods/0]).

-type answer() :: map() | term().

%% Answers with this fun of Req; processes come and go in any order.
-spec served(fun((cowboy_req:req()) -> cowboy_req:req()), fun((same_test:server()) -> term())) -> transcript:transcript().
served(Reply, Scenario) ->
    served(Reply, #{}, Scenario).

-spec served(fun((cowboy_req:req()) -> cowboy_req:req()), map(), fun((same_test:server()) -> term())) -> transcript:transcript().
served(Reply, Protocol, Scenario) ->
    http_case:serve(Reply, Protocol, Scenario).

-spec body() -> fun((cowboy_req:req()) -> cowboy_req:req()).
body() ->
    fun(Req) -> reply(Req, <<"body">>) end.

-spec reply(cowboy_req:req(), iodata()) -> cowboy_req:req().
reply(Req, Body) ->
    cowboy_req:reply(200, #{<<"x">> => <<"y">>}, Body, Req).

%% The answer to a request on a new stream.
-spec get(gen_tcp:socket(), pos_integer()) -> answer().
get(Socket, Stream) ->
    ok = http2_client:send(Socket, http2_client:head(Stream, fin, <<"GET">>, <<"/">>)),
    http2_client:response(Socket, Stream).

%% Its status, or what has come in its place.
-spec status(answer()) -> pos_integer() | term().
status(#{status := Status}) -> Status;
status(Other) -> Other.

%% How stream 1 ends by each, under which options, and by what.
-spec floods() -> [{End :: term(), Options :: map(), iodata()}].
floods() ->
    Calm = {connection_error, enhance_your_calm},
    Few = #{max_received_frame_rate => {100, 10000}},
    Resets = [[http2_client:head(N, fin, <<"GET">>, <<"/other">>), cow_http2:rst_stream(N, cancel)] || N <- lists:seq(3, 61, 2)],
    Fields = [{integer_to_binary(N), binary:copy(<<"x">>, 100)} || N <- lists:seq(1, 400)],
    [
        {Calm, Few, [cow_http2:ping(N) || N <- lists:seq(1, 200)]},
        {Calm, Few, [cow_http2:settings(#{}) || _ <- lists:seq(1, 200)]},
        {Calm, #{max_cancel_stream_rate => {10, 10000}}, Resets},
        {Calm, #{max_reset_stream_rate => {5, 10000}},
            [http2_client:request(N, fin, [{<<":method">>, <<"GET">>}]) || N <- lists:seq(3, 41, 2)]},
        {Calm, #{max_fragmented_header_block_size => 16384}, http2_client:request(3, fin, Fields, 1000)}
    ].
