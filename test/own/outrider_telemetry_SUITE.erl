%% Events for the application telemetry: which there are, what they carry, and that there is none for a frame.
%%
%% With the real one where it is on ERL_LIBS, else with a stand-in for the three functions that are used of it.
-module(outrider_telemetry_SUITE).

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([a_listener_starts_and_stops/1, a_websocket_starts_and_stops_with_its_counts_and_code/1, a_crash_is_a_reason/1]).
-export([frames_for_many_are_counted_and_no_frame_is_an_event/1, a_sidecar_is_lost_and_back/1, a_limit_is_reached/1]).
-export([one_that_is_kicked_is_told_with_its_code/1, without_telemetry_there_is_nothing/1]).
-export([heard/4]).

-import(own_case, [server/1]).

all() ->
    same_test:cases(?MODULE).

init_per_suite(Config) ->
    _ = code:ensure_loaded(telemetry) =:= {module, telemetry} orelse stand_in(),
    _ = application:ensure_all_started(telemetry),
    Config.

end_per_suite(_) ->
    ok.

init_per_testcase(Case, Config) ->
    same_test:start([outrider]),
    ok = outrider_telemetry:init(),
    ok = telemetry:attach_many(?MODULE, [[outrider | Event] || Event <- [
        [listener, start], [listener, stop], [sidecar, lost], [sidecar, back], [websocket, start], [websocket, stop], [limit, reached]
    ]], fun ?MODULE:heard/4, self()),
    own_case:init(Case, #{routes => routes()}, Config).

end_per_testcase(Case, _) ->
    _ = own_case:stop(Case),
    telemetry:detach(?MODULE).

routes() ->
    Script = #{silent => true, websocket_init => fun(State) -> {[{subscribe, <<"all">>}], State} end, websocket_handle => fun
        ({text, <<"close">>}, State) -> {[{text, <<"bye">>}, {close, 4001, <<>>}], State};
        ({text, <<"crash">>}, _) -> error(crash);
        ({text, Payload}, State) -> {[{text, Payload}], State};
        (_, State) -> {[], State}
    end},
    [{"/", ws_script_h, Script}, {"/short", ws_script_h, Script#{opts => #{idle_timeout => 1}}},
        {"/small", ws_script_h, Script#{opts => #{max_frame_size => 10}}}].

%% What telemetry calls.
heard(Event, Measurements, Metadata, Pid) ->
    Pid ! {heard, Event, Measurements, Metadata}.

next(Event) ->
    receive {heard, [outrider | Event], Measurements, Metadata} -> {Measurements, Metadata} after 20000 -> error({not_heard, Event}) end.

a_listener_starts_and_stops(_) ->
    Address = outrider:get_addr(?FUNCTION_NAME),
    {#{system_time := _}, #{listener := ?FUNCTION_NAME, address := Address}} = next([listener, start]),
    ok = outrider:stop_listener(?FUNCTION_NAME),
    {#{system_time := _}, #{listener := ?FUNCTION_NAME, reason := shutdown}} = next([listener, stop]).

%% Whoever ends it, with a code or without, and however it is lost.
a_websocket_starts_and_stops_with_its_counts_and_code(Config) ->
    Server = server(Config),
    Ends = [
        {"/", [{close, 1000, <<>>}], {remote, 1000, <<>>}, client, 1000, {1, 0, 1}},
        {"/", [close], remote, client, 1005, {1, 0, 1}},
        {"/", [{text, <<"close">>}], stop, server, 4001, {2, 5, 2}},
        {"/", [{text, <<255>>}], {error, badencoding}, server, 1007, {1, 0, 1}},
        {"/small", [{text, <<"12345678901">>}], {error, badsize}, server, 1009, {1, 0, 1}},
        {"/short", [], timeout, server, 1000, {0, 0, 0}},
        {"/", lost, {error, closed}, client, 1006, {1, 0, 1}}
    ],
    [] = [{End, Heard} || End <- Ends, Heard <- [ended(Server, End)], Heard =/= ok].

%% It has sent three bytes and got them back, but for the client of whom nothing is heard in time.
ended(Server, {Target, Frames, Reason, Side, Code, {Received, More, Sent}}) ->
    Socket = ws_client:open_at(Server, Target),
    #{ref := Ref} = Server,
    {#{system_time := _}, #{listener := Ref, handler := ws_script_h, req := #{path := _}}} = next([websocket, start]),
    case Target of
        "/short" -> ok;
        _ -> ws_client:send(Socket, {text, <<"abc">>}), {text, <<"abc">>} = ws_client:recv(Socket)
    end,
    case Frames of
        lost -> http_client:close(Socket);
        _ -> ws_client:send(Socket, Frames), _ = ws_client:recv_all(Socket), http_client:close(Socket)
    end,
    {Measurements, Metadata} = next([websocket, stop]),
    Bytes = 3 * min(1, Received),
    {BytesReceived, BytesSent} = {Bytes + More, Bytes + case More of 5 -> 3; 0 -> 0 end},
    case {Measurements, Metadata} of
        {#{
            duration := Duration, messages_received := Received, bytes_received := BytesReceived, messages_sent := Sent,
            bytes_sent := BytesSent
        }, #{listener := Ref, handler := ws_script_h, req := #{}, reason := Reason, side := Side, code := Code}} when Duration > 0 -> ok;
        _ -> {Measurements, maps:remove(req, Metadata)}
    end.

one_that_is_kicked_is_told_with_its_code(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = ws_client:open(Server),
    ws_client:send(Socket, {text, <<"abc">>}),
    {text, <<"abc">>} = ws_client:recv(Socket),
    [Pid] = outrider:procs(?FUNCTION_NAME, connections),
    ok = outrider:kick(Pid, 4002, <<>>),
    [{close, 4002, <<>>}, closed] = ws_client:recv_all(Socket),
    {#{messages_received := 1, messages_sent := 1}, #{reason := stop, code := 4002, side := server}} = next([websocket, stop]),
    [_] = [stop || {terminate, stop} <- probe:calls(Probe)].

a_crash_is_a_reason(Config) ->
    Socket = ws_client:open(server(Config)),
    ws_client:send(Socket, {text, <<"crash">>}),
    {close, 1011, <<>>} = ws_client:recv(Socket),
    {#{messages_received := 1}, #{reason := {crash, error, crash}, code := 1011, side := server}} = next([websocket, stop]).

frames_for_many_are_counted_and_no_frame_is_an_event(Config) ->
    Server = #{ref := Ref} = server(Config),
    Socket = ws_client:open(Server),
    _ = next([listener, start]),
    _ = next([websocket, start]),
    ws_client:send(Socket, [{text, <<"abc">>} || _ <- lists:seq(1, 100)]),
    _ = ws_client:recv(Socket, 100),
    ok = outrider:publish(Ref, <<"all">>, [{text, <<"12345">>}, ping]),
    [{text, <<"12345">>}, ping] = ws_client:recv(Socket, 2),
    ws_client:send(Socket, [ping, close]),
    [pong, close, closed] = ws_client:recv_all(Socket),
    {#{messages_received := 101, bytes_received := 300, messages_sent := 103, bytes_sent := 305}, _} = next([websocket, stop]),
    receive {heard, Event, _, _} -> error({heard, Event}) after 0 -> ok end.

a_sidecar_is_lost_and_back(Config) ->
    #{ref := Ref} = Server = server(Config),
    Socket = ws_client:open(Server),
    ws_client:send(Socket, {text, <<"abc">>}),
    {text, <<"abc">>} = ws_client:recv(Socket),
    ok = os_process:signal(os_process:sidecar(Ref), "KILL"),
    {#{streams := 1}, #{listener := Ref, sidecar := 1, reason := {sidecar_exit, 137}}} = next([sidecar, lost]),
    {#{duration := Away}, #{listener := Ref, sidecar := 1}} = next([sidecar, back]),
    true = Away > 0,
    %% Nobody has counted for it to the end.
    {Measurements, #{reason := {error, closed}}} = next([websocket, stop]),
    [duration] = maps:keys(Measurements).

a_limit_is_reached(Config) ->
    #{ref := Ref} = Server = server(Config),
    Socket = ws_client:open_at(Server, "/small"),
    ws_client:send(Socket, {text, <<"12345678901">>}),
    _ = ws_client:recv_all(Socket),
    {#{count := 1}, #{listener := Ref, sidecar := 1, limit := max_frame_size}} = next([limit, reached]).

%% The sidecar is not asked for what nobody hears.
without_telemetry_there_is_nothing(Config) ->
    _ = next([listener, start]),
    persistent_term:erase({outrider_telemetry, execute}),
    Socket = ws_client:open(server(Config)),
    ws_client:send(Socket, close),
    [close, closed] = ws_client:recv_all(Socket),
    receive {heard, Event, _, _} -> error({heard, Event}) after 200 -> ok end.

%% Handlers of events, in a persistent term.
stand_in() ->
    Forms = [
        "-module(telemetry).", "-export([attach_many/4, detach/1, execute/3]).",
        "attach_many(Id, Events, Fun, Config) -> persistent_term:put({telemetry, Id}, {Events, Fun, Config}).",
        "detach(Id) -> persistent_term:erase({telemetry, Id}), ok.",
        "execute(Event, M, D) -> _ = [Fun(Event, M, D, C) || {{telemetry, _}, {Events, Fun, C}} <- persistent_term:get(), "
        "lists:member(Event, Events)], ok."
    ],
    Parse = fun(Text) -> {ok, Tokens, _} = erl_scan:string(Text), {ok, Form} = erl_parse:parse_form(Tokens), Form end,
    {ok, telemetry, Binary} = compile:forms([Parse(Text) || Text <- Forms]),
    {module, telemetry} = code:load_binary(telemetry, "stand-in", Binary).
