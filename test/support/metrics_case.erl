%% What the suites of the metrics have in common: what their handlers do, and to ask for the numbers.
-module(metrics_case).

-export([routes/0, connections/1, refused/3, metrics/1, all/1, number/2]).

-spec routes() -> [{iodata(), module(), term()}].
routes() ->
    Echo = #{silent => true, websocket_handle => fun
        ({text, <<"close">>}, State) -> {[{close, 4711, <<>>}], State};
        ({text, <<"many">>}, State) -> {[{subscribe, <<"all">>}], State};
        ({text, <<"stats">>}, State) -> {[{binary, term_to_binary(outrider:stats())}], State};
        ({text, <<"large">>}, State) -> {[{binary, <<0:8000000>>}], State};
        ({Type, Payload}, State) when Type =:= text; Type =:= binary -> {[{Type, Payload}], State};
        (_, State) -> {[], State}
    end},
    [
        {"/", ws_script_h, Echo},
        {"/deflate", ws_script_h, Echo#{opts => #{compress => true}}},
        {"/short", ws_script_h, Echo#{opts => #{idle_timeout => 1}}},
        {"/drop", ws_script_h, #{silent => true, opts => #{on_backlog => drop, max_backlog => 100000}, websocket_handle => fun
            ({text, <<"large">>}, State) -> {[{binary, <<0:800000>>} || _ <- lists:seq(1, 50)], State};
            ({text, <<"backlog">>}, State = #{probe := Probe}) -> probe:note(Probe, outrider:backlog()), {[], State};
            (_, State) -> {[], State}
        end}},
        {"/small", ws_script_h, Echo#{opts => #{max_frame_size => 10}}},
        {"/wait", http_script_h, #{silent => true, init => fun(_, _) -> receive never -> ok end end}},
        {"/no", http_script_h, #{silent => true, init => fun(Req, State) -> {ok, cowboy_req:reply(403, Req), State} end}}
    ].

-spec connections(same_test:server()) -> #{atom() => non_neg_integer()}.
connections(Server) ->
    number(connections, Server).

%% A client that is refused for these bytes.
-spec refused(same_test:server(), cowboy:http_status(), iodata()) -> ok.
refused(Server, Status, Bytes) ->
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, Bytes),
    #{status := Status} = http_client:response(Socket),
    http_client:close(Socket).

-spec metrics(#{ref := ranch:ref(), _ => _}) -> map().
metrics(#{ref := Ref}) ->
    outrider:metrics(Ref).

%% Those of the only sidecar.
-spec all(#{ref := ranch:ref(), _ => _}) -> map().
all(Server) ->
    #{sidecars := [#{metrics := Metrics}]} = metrics(Server),
    Metrics.

-spec number(atom(), #{ref := ranch:ref(), _ => _}) -> term().
number(Key, Server) ->
    maps:get(Key, all(Server)).
