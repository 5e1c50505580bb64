%% The websocket option lazy: a WebSocket without a process until its client says something. Before it begins, how it begins, and how it ends.
%%
%% What a lazy handler does after that is held against Cowboy in ws_lazy_SUITE; who else has it begin is in outrider_lazy_wake_SUITE.
-module(outrider_lazy_SUITE).

-import(os_process, [something/1, until/1]).
-import(lazy_case, [listen/2, listen/3, listen_with/2, listen_with/4, script/1, ask/2, id/1, websockets/1, metrics/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([nothing_of_it_is_in_the_vm/1, pings_and_pongs_begin_nothing/1, an_incomplete_message_begins_nothing/1]).
-export([whoever_ends_it_before_it_begins_no_callback_is_called/1, is_ping/1, a_client_that_answers_pings_stays/1]).
-export([its_process_is_as_any_other/1, its_process_is_the_one_that_is_known/1, websocket_init_crashes/1]).
-export([its_process_is_killed/1, it_is_there_for_those_who_look/1, it_can_be_traced/1]).
-export([a_drain_sends_it_away_at_its_time/1, a_drain_sends_more_than_a_thousand_away_at_once/1]).
-export([none_is_lazy_while_the_listener_is_drained/1, the_listener_stops/1, the_sidecar_dies/1]).
-export([ten_thousand_messages_behind_the_handshake/1, the_process_in_a_filtered_req_is_its_own/1]).
-export([bytes_of_others_begin_nothing/1, stream_handlers_end_before_it_begins/1]).
-export([init/3, data/4, info/3, terminate/3, early_error/5]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

%% Of 2000: no process, no count, and less than 300 bytes each where the VM knows of streams.
nothing_of_it_is_in_the_vm(Config) ->
    Server = #{ref := Ref} = listen(Config, #{}),
    [Sidecar] = outrider:procs(Ref, acceptors),
    Parent = outrider_registry:streams_sup(Ref),
    Held = fun() -> lists:sum([held(Pid) || Pid <- [Sidecar, Parent]]) end,
    ok = http_client:close(ws_client:open(Server)),
    Before = Held(),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 2000)],
    until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    #{all_connections := 0, active_connections := 0} = outrider:info(Ref),
    2000 = websockets(Ref),
    true = Held() - Before < 300 * 2000,
    lists:foreach(fun http_client:close/1, Sockets),
    until(fun() -> websockets(Ref) =:= 0 end).

pings_and_pongs_begin_nothing(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, [ping, {pong, <<"x">>}, pong, {ping, <<"y">>}]),
    [pong, {pong, <<"y">>}] = ws_client:recv(Socket, 2),
    [#{state := lazy, pid := undefined, messages_in := 4, credit_in := 0}] = outrider:connections(Ref),
    [] = probe:calls(Probe),
    %% As many as a window would hold, and more.
    Pings = 5000,
    ok = ws_client:send(Socket, lists:duplicate(Pings, {ping, <<"z">>})),
    _ = [{pong, <<"z">>} = ws_client:recv(Socket) || _ <- lists:seq(1, Pings)],
    [#{state := lazy}] = outrider:connections(Ref),
    ask(Socket, <<"now">>),
    [websocket_init, {websocket_handle, {text, <<"now">>}}] = probe:calls(Probe).

an_incomplete_message_begins_nothing(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, [{raw, ws_client:frame(0, 0, 1, <<"not ">>)}, ping]),
    pong = ws_client:recv(Socket),
    [#{state := lazy}] = outrider:connections(Ref),
    [] = probe:calls(Probe),
    ok = ws_client:send(Socket, {raw, ws_client:frame(1, 0, 0, <<"yet">>)}),
    {text, <<"not yet">>} = ws_client:recv(Socket).

whoever_ends_it_before_it_begins_no_callback_is_called(Config) ->
    Route = fun(Path, Options) -> {Path, ws_script_h, script(Options#{lazy => true})} end,
    Server = #{ref := Ref, probe := Probe} = listen_with(Config, [
        Route("/idle/[...]", #{idle_timeout => 300}), Route("/silent/[...]", #{ping_interval => 100, pong_timeout => 200}),
        Route("/[...]", #{max_frame_size => 100})
    ]),
    Rows = [
        {"/1", remote, [close], fun(Socket) -> ws_client:send(Socket, close) end},
        {"/2", {remote, 4321}, [{close, 4321, <<>>}], fun(Socket) -> ws_client:send(Socket, {close, 4321, <<"bye">>}) end},
        {"/3", {error, badframe}, [{close, 1002, <<>>}], fun(Socket) -> ws_client:send(Socket, {raw, <<16#ff, 0>>}) end},
        {"/4", {error, badencoding}, [{close, 1007, <<>>}], fun(Socket) -> ws_client:send(Socket, {text, <<255>>}) end},
        {"/5", {error, badsize}, [{close, 1009, <<>>}], fun(Socket) -> ws_client:send(Socket, {text, <<0:808>>}) end},
        {"/6", {stop, 4000}, [{close, 4000, <<"go">>}], fun(_) -> ok = outrider:kick(id(Ref), 4000, <<"go">>) end},
        {"/7", {error, closed}, [], fun http_client:close/1},
        {"/idle/8", timeout, [{close, 1000, <<>>}], fun(_) -> ok end},
        {"/silent/9", timeout, [{close, 1001, <<>>}], fun(_) -> ok end}
    ],
    _ = [begin
        Socket = ws_client:open_at(Server, Path),
        _ = Act(Socket),
        Reason =:= {error, closed} orelse
            ({Path, Frames} = {Path, [Frame || Frame <- ws_client:recv_all(Socket), Frame =/= closed, not is_ping(Frame)]}),
        [#{reason := Reason, pid := undefined}] =
            something(fun() -> outrider:connections(Ref, #{filter => #{state => closed, path => Path}}) end),
        until(fun() -> outrider:connections(Ref) =:= [] end)
    end || {Path, Reason, Frames, Act} <- Rows],
    until(fun() -> websockets(Ref) =:= 0 end),
    [] = probe:calls(Probe),
    #{
        closes_by_client := #{1005 := 1, 1006 := 1, '4xxx' := 1},
        closes_by_server := #{1000 := 1, 1001 := 1, 1002 := 1, 1007 := 1, 1009 := 1, '4xxx' := 1}
    } = metrics(Ref).

is_ping({ping, _}) -> true;
is_ping(_) -> false.

a_client_that_answers_pings_stays(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{idle_timeout => 60000, ping_interval => 100, pong_timeout => 5000}),
    Socket = ws_client:open(Server),
    _ = [begin
        {ping, Payload} = ws_client:recv(Socket),
        ok = ws_client:send(Socket, {pong, Payload})
    end || _ <- lists:seq(1, 5)],
    [#{state := lazy, round_trip := RoundTrip}] = outrider:connections(Ref),
    true = is_integer(RoundTrip),
    [] = probe:calls(Probe).

%% Both look at the same route, once with the option and once without.
its_process_is_as_any_other(Config) ->
    Around = fun(State = #{probe := Probe}) ->
        probe:note(Probe, {around, [
            {trap_exit, process_info(self(), trap_exit)}, {links, process_info(self(), links)},
            {parent, process_info(self(), parent)}, {ancestors, get('$ancestors')},
            {dictionary, lists:sort([Key || {Key, _} <- get()])}, {priority, process_info(self(), priority)}, {monitors, process_info(self(), monitors)},
            {monitored, lists:sort(element(2, process_info(self(), monitored_by)))},
            {label, get('$process_label')}
        ]}),
        {[], State}
    end,
    Server = #{ref := Ref, probe := Probe} = listen_with(Config, [
        {"/lazy", ws_script_h, (script(#{lazy => true}))#{websocket_init => Around}},
        {"/lazy/not", ws_script_h, (script(#{}))#{websocket_init => Around}}
    ]),
    _ = [ask(ws_client:open_at(Server, Path), <<"a">>) || Path <- ["/lazy", "/lazy/not"]],
    [Lazy, Eager] = [without_label(Info) || {around, Info} <- probe:calls(Probe)],
    [] = [{A, B} || {A, B} <- lists:zip(Lazy, Eager), A =/= B],
    2 = length(outrider:procs(Ref, connections)),
    until(fun() ->
        #{all_connections := All, active_connections := Active} = outrider:info(Ref),
        {All, Active} =:= {2, 0}
    end).

%% Peer and path differ.
without_label(Info) ->
    [case Pair of {label, Label} when is_tuple(Label) -> {label, element(1, Label), element(2, Label)}; _ -> Pair end || Pair <- Info].

its_process_is_the_one_that_is_known(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open_at(Server, "/known"),
    Id = id(Ref),
    ask(Socket, <<"a">>),
    Pid = probe:process(Probe),
    #{id := Id, pid := Pid, state := open, path := <<"/known">>} = outrider:connection(Pid),
    #{id := Id, pid := Pid} = outrider:connection(Id),
    [Pid] = outrider:procs(Ref, connections),
    1 = outrider:send_many([Pid], {text, <<"to the process">>}),
    {text, <<"to the process">>} = ws_client:recv(Socket),
    ok = outrider:kick(Pid, 4000, <<>>),
    [{close, 4000, <<>>}, closed] = ws_client:recv_all(Socket),
    {exit, normal} = probe:await_exit(Probe),
    until(fun() -> outrider:procs(Ref, connections) =:= [] end).

websocket_init_crashes(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}, #{websocket_init => fun(_) -> error(oops) end}),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, {text, <<"a">>}),
    [{close, 1011, <<>>}, closed] = ws_client:recv_all(Socket),
    {exit, {oops, _}} = probe:await_exit(Probe),
    [websocket_init, {terminate, {crash, error, oops}}, {exit, _}] = probe:calls(Probe),
    until(fun() -> outrider:procs(Ref, connections) =:= [] end).

%% Between the event and the callback, as far as anybody can tell.
its_process_is_killed(Config) ->
    Server = #{ref := Ref} = listen(Config, #{}, #{websocket_init => fun(_) -> exit(self(), kill) end}),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, {text, <<"a">>}),
    [closed] = ws_client:recv_all(Socket),
    until(fun() -> outrider:procs(Ref, connections) =:= [] andalso websockets(Ref) =:= 0 end).

it_is_there_for_those_who_look(Config) ->
    Server = #{ref := Ref} = listen(Config, #{}),
    Lazy = ws_client:open_at(Server, "/one"),
    Begun = ws_client:open_at(Server, "/two"),
    ask(Begun, <<"a">>),
    [#{path := <<"/one">>, state := lazy, pid := undefined, id := Id}] = outrider:connections(Ref, #{filter => #{state => lazy}}),
    [#{path := <<"/two">>, state := open}] = outrider:connections(Ref, #{filter => #{state => open}}),
    #{path := <<"/one">>, id := Id} = outrider:connection(Id),
    {ok, 1} = outrider:kick(Ref, #{state => lazy}, 4000, <<>>, #{}),
    [{close, 4000, <<>>}, closed] = ws_client:recv_all(Lazy),
    undefined = outrider:connection(Id),
    {error, not_found} = outrider:kick(Id, 4000, <<>>),
    ask(Begun, <<"still here">>).

it_can_be_traced(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open(Server),
    {ok, Trace} = outrider:trace(id(Ref), #{frames => 1}),
    ok = ws_client:send(Socket, ping),
    receive {outrider, trace, Trace, #{opcode := ping, direction := in}} -> ok end,
    [] = probe:calls(Probe).

a_drain_sends_it_away_at_its_time(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Lazy = [ws_client:open(Server) || _ <- lists:seq(1, 20)],
    Begun = [ws_client:open(Server) || _ <- lists:seq(1, 10)],
    _ = [ask(Socket, <<"a">>) || Socket <- Begun],
    Self = self(),
    _ = spawn_link(fun() -> Self ! {drained, outrider:drain(Ref, #{over => 5000, timeout => 60000, code => 4001})} end),
    %% When the first has gone there are others.
    until(fun() -> Left = websockets(Ref), Left > 0 andalso Left < 30 end),
    #{drain := #{closed := Closed, remaining := Remaining}} = outrider:info(Ref),
    true = Closed + Remaining =:= 30,
    _ = [[{close, 4001, <<>>}, closed] = ws_client:recv_all(Socket) || Socket <- Lazy ++ Begun],
    receive {drained, Result} -> {ok, #{closed := 30, remaining := 0}} = Result end,
    10 = length([Call || {terminate, shutdown} = Call <- probe:calls(Probe)]).

%% By more than one order to the sidecar.
a_drain_sends_more_than_a_thousand_away_at_once(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 1001)],
    until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    {ok, #{closed := 1001, remaining := 0}} = outrider:drain(Ref, #{over => 0, timeout => 60000, code => 4001}),
    _ = [[{close, 4001, <<>>}, closed] = ws_client:recv_all(Socket) || Socket <- Sockets],
    [] = probe:calls(Probe).

%% It would have nobody whom the drain could find.
none_is_lazy_while_the_listener_is_drained(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}, #{init => fun(Req, #{probe := Probe, opts := Opts} = State) ->
        probe:note(Probe, begun),
        go_on = probe:await(Probe, go_on),
        {cowboy_websocket, Req, State, Opts}
    end}),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, ws_client:handshake("/")),
    begun = probe:await(Probe, begun),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {drained, outrider:drain(Ref, #{over => 2000, timeout => 30000, code => 4001})} end),
    until(fun() -> is_map_key(drain, outrider:info(Ref)) end),
    probe:note(Probe, go_on),
    #{status := 101} = http_client:response(Socket),
    [{close, 4001, <<>>}, closed] = ws_client:recv_all(Socket),
    receive {drained, Result} -> {ok, #{closed := 1, remaining := 0}} = Result end,
    [_, _, websocket_init, {terminate, shutdown}, {exit, normal}] = probe:calls(Probe).

the_listener_stops(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open(Server),
    ok = outrider:stop_listener(Ref),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket),
    [] = probe:calls(Probe).

the_sidecar_dies(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{subscribe => [<<"t">>]}),
    Socket = ws_client:open(Server),
    Id = id(Ref),
    OsPid = os_process:sidecar(Ref),
    os_process:signal(OsPid, "KILL"),
    [closed] = ws_client:recv_all(Socket),
    os_process:is_replaced(Ref, OsPid),
    {error, not_found} = outrider:wake(Id, hello),
    Again = ws_client:open(Server),
    until(fun() -> outrider:subscribers(Ref, <<"t">>) =:= 1 end),
    [] = probe:calls(Probe),
    ask(Again, <<"a">>).

%% More than a window, which are there before its process.
ten_thousand_messages_behind_the_handshake(Config) ->
    Server = #{probe := Probe} = listen(Config, #{}, #{silent => true}),
    Socket = http_client:connect(Server),
    Messages = [{text, integer_to_binary(N)} || N <- lists:seq(1, 10000)],
    _ = spawn_link(fun() -> ok = http_client:send(Socket, [ws_client:handshake("/"), ws_client:bytes(Messages)]) end),
    #{status := 101} = http_client:response(Socket),
    Messages = ws_client:recv(Socket, 10000),
    [websocket_init] = probe:calls(Probe).

the_process_in_a_filtered_req_is_its_own(Config) ->
    Server = #{probe := Probe} = listen(Config, #{req_filter => fun(Req) -> maps:with([pid, path], Req) end}, #{partial_req => true}),
    Socket = ws_client:open(Server),
    ask(Socket, <<"a">>),
    Pid = probe:process(Probe),
    ok = ws_client:send(Socket, close),
    close = ws_client:recv(Socket),
    {exit, normal} = probe:await_exit(Probe),
    [#{pid := Pid, path := <<"/">>}] = [Req || {req, Req} <- probe:calls(Probe)].

%% A sidecar that is somebody else's brings what it has not been given.
bytes_of_others_begin_nothing(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen(Config, #{}),
    Socket = ws_client:open(Server),
    {Sidecar, Stream} = id(Ref),
    {links, Links} = process_info(Sidecar, links),
    [Port] = [Port || Port <- Links, is_port(Port)],
    Init = {{ws_script_h, #{probe => Probe, opts => #{}}, #{}}, undefined, false},
    Forged = <<0:128, (term_to_binary(Init))/binary>>,
    Sidecar ! {Port, {data, term_to_binary([{Stream, {lazy, Forged}}])}},
    %% Its process has failed, which costs the client its connection.
    [closed] = ws_client:recv_all(Socket),
    until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    [] = probe:calls(Probe).

%% What it says at once waits for them.
stream_handlers_end_before_it_begins(Config) ->
    Server = #{ref := Ref, probe := Probe} = listen_with(Config, [{"/", ws_script_h, script(#{lazy => true})}], #{}, #{
        stream_handlers => [?MODULE, cowboy_stream_h]
    }),
    Socket = http_client:connect(Server),
    ok = http_client:send(Socket, [ws_client:handshake("/"), ws_client:bytes({text, <<"a">>})]),
    chain_ends = probe:await(Probe, chain_ends),
    [] = outrider:connections(Ref),
    probe:note(Probe, go_on),
    #{status := 101} = http_client:response(Socket),
    {text, <<"a">>} = ws_client:recv(Socket),
    [chain_ends, go_on, chain_has_ended, websocket_init, {websocket_handle, _}] = probe:calls(Probe).

%% A stream handler that takes its time.

init(Id, Req, #{env := #{probe := Probe}} = Opts) ->
    {Commands, Next} = cowboy_stream:init(Id, Req, Opts),
    {Commands, {Probe, Next}}.

data(Id, IsFin, Data, {Probe, Next0}) ->
    {Commands, Next} = cowboy_stream:data(Id, IsFin, Data, Next0),
    {Commands, {Probe, Next}}.

info(Id, Info, {Probe, Next0}) ->
    {Commands, Next} = cowboy_stream:info(Id, Info, Next0),
    {Commands, {Probe, Next}}.

terminate(Id, Reason, {Probe, Next}) ->
    probe:note(Probe, chain_ends),
    go_on = probe:await(Probe, go_on),
    probe:note(Probe, chain_has_ended),
    cowboy_stream:terminate(Id, Reason, Next).

early_error(Id, Reason, PartialReq, Resp, Opts) ->
    cowboy_stream:early_error(Id, Reason, PartialReq, Resp, Opts).

%% Bytes, its binaries included.
held(Pid) ->
    true = erlang:garbage_collect(Pid),
    {memory, Memory} = process_info(Pid, memory),
    {binary, Binaries} = process_info(Pid, binary),
    Memory + lists:sum([Size || {_, Size, _} <- Binaries]).
