%% The listener: what start and stop return, and the functions that take its name. Its options are in listener_options_SUITE, how many
%% connections it takes in listener_connections_SUITE.
-module(listener_SUITE).

-compile([export_all, nowarn_export_all]).

-import(listener_case, [each/2]).

-define(REF, {same_test, ?FUNCTION_NAME}).

all() ->
    same_test:cases(?MODULE).

%%% Start and stop

start_and_stop(_) ->
    each(fun(Module, _) ->
        {ok, Pid} = Module:start_clear(?REF, [{port, 0}], #{}),
        Again = Module:start_clear(?REF, [{port, 0}], #{}),
        Same = Again =:= {error, {already_started, Pid}},
        Stopped = Module:stop_listener(?REF),
        {Same, Stopped, is_process_alive(Pid)}
    end, {true, ok, false}).

stopping_an_unknown_listener(_) ->
    compatibility:must_name(stop_of_an_unknown_listener),
    Badarg = same_test:version(ranch) < {2, 2},
    each(fun(Module, _) ->
        try
            Module:stop_listener(?REF)
        catch
            error:badarg when Module =:= cowboy, Badarg -> {error, not_found}
        end
    end, {error, not_found}).

%% The name can be had again at once.
%% At once; of Ranch's listener now and then only soon.
start_after_stop(_) ->
    compatibility:must_name(port_after_stop),
    each(fun(Module, Api) ->
        {ok, _} = Module:start_clear(?REF, [{port, 0}], #{}),
        Port = Api:get_port(?REF),
        ok = Module:stop_listener(?REF),
        ok = os_process:until(fun() ->
            case Module:start_clear(?REF, [{port, Port}], #{}) of
                {ok, _} -> true;
                {error, eaddrinuse} when Module =:= cowboy -> false
            end
        end),
        Same = Api:get_port(?REF) =:= Port,
        ok = Module:stop_listener(?REF),
        Same
    end, true).

%% The listener does not depend on who started it.
the_starter_may_die(_) ->
    each(fun(Module, Api) ->
        {Pid, Monitor} = spawn_monitor(fun() -> {ok, _} = Module:start_clear(?REF, [{port, 0}], #{}) end),
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
        IsPort = is_integer(Api:get_port(?REF)),
        ok = Module:stop_listener(?REF),
        IsPort
    end, true).

a_port_that_is_taken(_) ->
    each(fun(Module, _) ->
        {ok, Socket} = gen_tcp:listen(0, []),
        {ok, Port} = inet:port(Socket),
        Result = Module:start_clear(?REF, [{port, Port}], #{}),
        gen_tcp:close(Socket),
        Result
    end, {error, eaddrinuse}).

an_address_that_is_not_ours(_) ->
    each(fun(Module, _) ->
        {error, {{shutdown, {failed_to_start_child, _, {listen_error, Ref, Reason}}}, _}} =
            Module:start_clear(?REF, [{port, 0}, {ip, {192, 0, 2, 1}}], #{}),
        {Ref =:= ?REF, Reason}
    end, {true, eaddrnotavail}).

%% Supervisors know an embedded listener by the same id, that of Ranch 2. Ranch 1 has another, in a tuple.
the_id_of_a_child_spec(_) ->
    #{id := {ranch_embedded_sup, ?REF} = Id} = outrider:child_spec(?REF, ranch_tcp, #{}, #{}),
    case ranch:child_spec(?REF, ranch_tcp, #{}, cowboy_clear, #{}) of
        #{id := Ranchs} -> Id = Ranchs;
        Spec -> ranch_listener_sup = element(1, element(1, Spec))
    end,
    ok.

%%% Functions that take the listener's name

%% The address and the port that were given.
get_addr_and_get_port(_) ->
    each(fun(Module, Api) ->
        {ok, _} = Module:start_clear(?REF, [{ip, {127, 0, 0, 1}}, {port, 0}], #{}),
        {Ip, Port} = Api:get_addr(?REF),
        Same = Port =:= Api:get_port(?REF),
        ok = Module:stop_listener(?REF),
        {Ip, Same}
    end, {{127, 0, 0, 1}, true}).

procs(_) ->
    #{wire := {[], true}, calls := [websocket_init | _]} = same_test:same(#{handler => {ws_script_h, #{}}},
        fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
            Api = same_test:ranch_api(Name),
            Before = Api:procs(Ref, connections),
            Socket = ws_client:open(Server),
            Pid = probe:process(Probe),
            Listed = lists:member(Pid, Api:procs(Ref, connections)),
            http_client:close(Socket),
            {Before, Listed}
        end).

%% A WebSocket counts among all connections, but not among the active ones.
info(_) ->
    #{wire := {running, {0, 1}, true}} = same_test:same(#{handler => {ws_script_h, #{}}},
        fun(#{name := Name, ref := Ref, port := Port, probe := Probe} = Server) ->
            Api = same_test:ranch_api(Name),
            Socket = ws_client:open(Server),
            probe:process(Probe),
            #{status := Status, port := InfoPort, active_connections := Active, all_connections := All,
                pid := _, ip := _, max_connections := _, transport := _, transport_options := _, protocol := _,
                protocol_options := _} = Api:info(Ref),
            http_client:close(Socket),
            {Status, {Active, All}, InfoPort =:= Port}
        end).

%% Existing connections go on while a suspended listener takes no new ones.
suspend_and_resume(_) ->
    compatibility:must_name(port_after_stop),
    #{wire := {refused, undefined, suspended, {text, <<"x">>}, 200, running}} = same_test:same(#{
        routes => [{"/", ws_script_h, #{websocket_handle => fun(Frame, State) -> {[Frame], State} end}},
            {"/plain", http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}}]
    }, fun(#{name := Name, ref := Ref, port := Port} = Server) ->
        Api = same_test:ranch_api(Name),
        Socket = ws_client:open(Server),
        ok = Api:suspend_listener(Ref),
        Refused = refused(Name, Port),
        {NoPort, Suspended} = {Api:get_port(Ref), Api:get_status(Ref)},
        ws_client:send(Socket, {text, <<"x">>}),
        Echo = ws_client:recv(Socket),
        ok = Api:resume_listener(Ref),
        #{status := Status} = http_client:get(Server#{port := Api:get_port(Ref)}, "/plain"),
        {Refused, NoPort, Suspended, Echo, Status, Api:get_status(Ref)}
    end).

%% At once; by Ranch now and then only soon.
refused(Name, Port) ->
    ok = os_process:until(fun() ->
        case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
            {error, econnrefused} -> true;
            {error, econnreset} when Name =:= cowboy -> false;
            {ok, Socket} when Name =:= cowboy -> gen_tcp:close(Socket) =/= ok
        end
    end),
    refused.

%% set_env is for connections that come after, a dispatch in a persistent term for all.
set_env(_) ->
    #{wire := {404, 201, #{}}} = same_test:same(#{}, fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
        Dispatch = cowboy_router:compile([{'_', [{"/", http_script_h, #{probe => Probe, init => fun(Req, State) ->
            {ok, cowboy_req:reply(201, Req), State}
        end}}]}]),
        #{status := Before} = http_client:get(Server, "/"),
        ok = Name:set_env(Ref, dispatch, Dispatch),
        #{status := After} = http_client:get(Server, "/"),
        Dispatch = Name:get_env(Ref, dispatch),
        {Before, After, Name:get_env(Ref, none, #{})}
    end).

%% Cowboy's connections keep the env that they began with.
set_env_and_an_open_connection(_) ->
    same_test:differ(set_env_at_once, #{}, fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
        Dispatch = cowboy_router:compile([{'_', [{"/", http_script_h, #{probe => Probe, silent => true,
            init => fun(Req, State) -> {ok, cowboy_req:reply(201, Req), State} end}}]}]),
        Socket = http_client:connect(Server),
        Next = fun() ->
            http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(status, http_client:response(Socket))
        end,
        Before = Next(),
        ok = Name:set_env(Ref, dispatch, Dispatch),
        {Before, Next()}
    end, #{
        cowboy => fun(#{wire := {404, 404}}) -> ok end,
        outrider => fun(#{wire := {404, 201}}) -> ok end
    }).

dispatch_in_a_persistent_term(_) ->
    Route = fun(Status, Probe) -> cowboy_router:compile([{'_', [{"/", http_script_h, #{
        probe => Probe, init => fun(Req, State) -> {ok, cowboy_req:reply(Status, Req), State} end}}]}]) end,
    #{wire := {201, 202}} = same_test:same(#{protocol => #{env => #{dispatch => {persistent_term, ?MODULE}}}},
        fun(#{probe := Probe} = Server) ->
            persistent_term:put(?MODULE, Route(201, Probe)),
            Socket = http_client:connect(Server),
            Next = fun() ->
                http_client:send(Socket, http_client:request("GET", "/")),
                maps:get(status, http_client:response(Socket))
            end,
            One = Next(),
            persistent_term:put(?MODULE, Route(202, Probe)),
            Two = Next(),
            persistent_term:erase(?MODULE),
            {One, Two}
        end).
