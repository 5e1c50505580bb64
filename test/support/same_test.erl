%% One suite, two servers: runs a scenario on a Cowboy listener and on an Outrider listener and compares
%% what could be observed.
%%
%% In: a setup (routes or one handler, transport and protocol options) and a scenario, a fun that drives the
%% server and returns what came over the wire. Out: the transcript `#{wire, calls, log}':
%%
%%   wire    what the scenario returned
%%   calls   what the handlers noted with `probe:note/2', in order, and how the watched processes ended
%%   log     what was logged at level notice and above
%%
%% `same/2' fails unless both servers gave the same transcript, and returns it for the case's own expectations.
%% `differ/4' is for what is meant to differ: it names the difference, which must have a row in
%% docs/cowboy-compatibility.md, and holds each server to its own expectation.
%% `differ_before/5' is for what differs from older Cowboys only: from the named version on both servers do the same.
%% `improves/4' is for what Cowboy does only sometimes.
%% `rows/3' runs a table of inputs and reports every row that is wrong at once.
%%
%% Each run has a listener of its own and a process of its own for the scenario: its sockets close when it ends.
%% The transcript is taken after every connection and every watched process has ended and the listener has stopped, so
%% that nothing that is still under way can be missed.
%%
%% With the environment variable OUTRIDER_TEST_TLS=true all of it runs over TLS: start_tls/3 in the place of start_clear/3, and
%% clients by way of tls_tunnel. With OUTRIDER_TEST_HTTP2=true it runs over HTTP/2, clients by way of http2_tunnel. The environment
%% variable OUTRIDER_TEST_SERVERS narrows the run to `cowboy' or `outrider'.
-module(same_test).

-export([cases/1, same/2, differ/4, differ_before/5, improves/4, label/3, rows/3, servers/0, version/1]).
-export([not_over_tls/1, is_tls/0, is_tls/1, is_http2/0, scheme/0, handshake/0, start/1, start_listener/4, child_spec/3]).
-export([stop_listener/1, ranch_api/1]).

-export_type([server/0, setup/0, transcript/0, version/0]).

-type name() :: cowboy | outrider.
-type version() :: {Major :: non_neg_integer(), Minor :: non_neg_integer()}.
%% `tls' where it does not depend on the environment alone whether clients have to speak TLS.
-type server() :: #{
    name := name(), ref := term(), port := inet:port_number() | undefined, probe := probe:probe(), tls => boolean()
}.
%% A route's options get the key `probe' if they are a map. `order => any' sorts the calls: for those of several
%% processes, whose order is nobody's promise. `alone_over_http2' names the difference for which Cowboy is left out there.
-type setup() :: #{
    handler => {module(), term()},
    routes => [{iodata(), module(), term()}],
    transport => ranch:opts(),
    protocol => cowboy:opts(),
    order => any,
    alone_over_http2 => atom()
}.
-type transcript() :: #{wire := term(), calls := [term()], log := [term()]}.

%% The cases of a suite: its exported functions of arity 1.
-spec cases(module()) -> [atom()].
cases(Suite) ->
    Cases = [Case || {Case, 1} <- Suite:module_info(exports), Case =/= module_info],
    case is_http2() of
        true -> Cases -- http2_tunnel:without(Suite);
        false -> Cases
    end.

%% These cases where the suites run over TLS, for what is left out then; else none.
-spec not_over_tls([atom()]) -> [atom()].
not_over_tls(Cases) ->
    case is_tls() of
        true -> Cases;
        false -> []
    end.

-spec same(setup(), fun((server()) -> term())) -> transcript().
same(Setup, Scenario) ->
    case runs(Setup, Scenario) of
        [{_, Transcript}] ->
            passed(Transcript);
        [{_, Transcript}, {_, Transcript}] ->
            passed(Transcript);
        [{One, A}, {Other, B}] ->
            error({the_servers_differ, transcript:brief([{Key, difference(One, Value, Other, maps:get(Key, B))}
                || {Key, Value} <- maps:to_list(A), maps:get(Key, B) =/= Value])})
    end.

%% Of two lists of the same length only those elements that differ.
difference(One, A, Other, B) when length(A) =:= length(B) ->
    [{element, N, [{One, X}, {Other, Y}]} || {N, X, Y} <- lists:zip3(lists:seq(1, length(A)), A, B), X =/= Y];
difference(One, A, Other, B) ->
    [{One, A}, {Other, B}].

-spec differ(atom(), setup(), fun((server()) -> term()), #{name() := fun((transcript()) -> term())}) -> ok.
differ(Difference, Setup, Scenario, Expected) ->
    compatibility:must_name(Difference),
    Runs = runs(Setup, Scenario),
    _ = [(maps:get(Name, Expected))(passed(Transcript)) || {Name, Transcript} <- Runs],
    case Runs of
        [{_, Same}, {_, Same}] -> error({no_difference_any_more, Difference, Same});
        _ -> ok
    end.

%% Like differ/4 of a Cowboy older than that version, and like same/2 of the others, which do what is expected of Outrider.
-spec differ_before(version(), atom(), setup(), fun((server()) -> term()), #{name() := fun((transcript()) -> term())}) ->
    ok.
differ_before(Version, Difference, Setup, Scenario, #{outrider := Outriders} = Expected) ->
    compatibility:must_name(Difference, Version),
    case version(cowboy) < Version of
        true ->
            differ(Difference, Setup, Scenario, Expected);
        false ->
            _ = Outriders(same(Setup, Scenario)),
            ok
    end.

%% The scenario returns a process's label: {before OTP 27 everywhere, else from this Cowboy on}.
-spec label(setup(), fun((server()) -> term()), {None :: binary(), Label :: binary()}) -> ok.
label(Setup, Scenario, {None, Label}) ->
    _ = code:ensure_loaded(proc_lib),
    case erlang:function_exported(proc_lib, set_label, 1) of
        true ->
            differ_before({2, 13}, process_label, Setup, Scenario, #{
                cowboy => fun(#{wire := Wire}) -> None = Wire, ok end,
                outrider => fun(#{wire := Wire}) -> Label = Wire, ok end
            });
        false ->
            #{wire := None} = same(Setup, Scenario),
            ok
    end.

%% Like differ/4 where Cowboy's transcript depends on a race, so that only Outrider can be held to something.
-spec improves(atom(), setup(), fun((server()) -> term()), fun((transcript()) -> term())) -> ok.
improves(Difference, Setup, Scenario, Expected) ->
    compatibility:must_name(Difference),
    start(servers()),
    _ = [Expected(passed(run(outrider, Setup, Scenario))) || outrider <- servers()],
    ok.

%% Each row is `{Name, Input, Expected}', or `{Name, Input, CowboyExpected, {Difference, OutriderExpected}}', or, for what
%% differs from a Cowboy older than a version only, `{Name, Input, CowboyExpected, {Difference, Version, Expected}}'.
%% The scenario gets the row's input besides the server; the row's result is the transcript's wire.
-spec rows(setup(), fun((server(), Input) -> term()), [Row]) -> ok when
    Row :: {term(), Input, term()} | {term(), Input, term(), {atom(), term()} | {atom(), version(), term()}}.
rows(Setup, Scenario, Rows) ->
    Runs = runs(Setup, fun(Server) ->
        [{element(1, Row), in_process(fun() -> Scenario(Server, element(2, Row)) end)} || Row <- Rows]
    end),
    Wrong = [
        #{row => element(1, Row), server => Name, expected => Expected, got => Got}
     || {Name, #{wire := Results}} <- Runs,
        {Row, {_, Outcome}} <- lists:zip(Rows, Results),
        Expected <- [expected(Name, Row)],
        Got <- [transcript:plain(wire(Outcome))],
        Got =/= Expected
    ],
    Wrong =:= [] orelse error({wrong_rows, transcript:brief(Wrong)}),
    ok.

expected(_, {_, _, Expected}) ->
    Expected;
expected(Name, {_, _, Olders, {Difference, Version, Expected}}) ->
    compatibility:must_name(Difference, Version),
    case Name =:= cowboy andalso version(cowboy) < Version of
        true -> Olders;
        false -> Expected
    end;
expected(cowboy, {_, _, Expected, _}) ->
    Expected;
expected(outrider, {_, _, _, {Difference, Expected}}) ->
    compatibility:must_name(Difference),
    Expected.

-spec servers() -> [name()].
servers() ->
    case os:getenv("OUTRIDER_TEST_SERVERS", "cowboy outrider") of
        "cowboy" -> [cowboy];
        "outrider" -> [outrider];
        "cowboy outrider" -> [cowboy, outrider]
    end.

%% The version of an application that the tests run with, for what both servers do alike, but not with each version.
-spec version(cowboy | ranch) -> version().
version(Application) ->
    _ = application:load(Application),
    {ok, Vsn} = application:get_key(Application, vsn),
    [Major, Minor | _] = string:lexemes(Vsn, "."),
    {list_to_integer(Major), list_to_integer(Minor)}.

%% Starts the applications that the named servers need.
-spec start([name()]) -> ok.
start(Names) ->
    _ = [{ok, _} = application:ensure_all_started(Name) || Name <- [cowboy | Names]],
    ok.

runs(Setup, Scenario) ->
    Names = servers(Setup),
    start(Names),
    [{Name, run(Name, Setup, Scenario)} || Name <- Names].

servers(#{alone_over_http2 := Difference}) ->
    compatibility:must_name(Difference),
    case is_http2() of
        true -> servers() -- [cowboy];
        false -> servers()
    end;
servers(_) ->
    servers().

run(Name, Setup, Scenario) ->
    Probe = probe:start(),
    compatibility:must_name(large_messages_in_the_log),
    compatibility:must_name(refused_requests_in_the_log),
    ok = probe_log:attach(Probe, [<<"outrider::websocket::oversize">>, <<"outrider::http::refused">>]),
    Outcome = try
        with_listener(Name, Setup, Probe, Scenario)
    after
        probe_log:detach()
    end,
    Calls = ends(Name, Setup, transcript:plain(probe:calls(Probe))),
    Ordered = case Setup of
        #{order := any} -> lists:sort(Calls);
        #{} -> Calls
    end,
    #{wire => transcript:plain(wire(Outcome)), calls => Ordered, log => transcript:plain(probe:stop(Probe))}.

%% How Cowboy ends a WebSocket over HTTP/2 whose client is gone has a row of its own, and is not held against each case.
ends(Name, Setup, Calls) ->
    IsWebsocket = lists:any(fun({_, Module, _}) -> is_websocket(Module) end, routes(Setup)),
    case {Name, is_http2()} of
        {cowboy, true} when IsWebsocket ->
            compatibility:must_name(lost_websocket_over_http_2),
            lists:flatmap(fun
                ({exit, shutdown}) -> [{terminate, {error, closed}}, {exit, normal}];
                (Call) -> [Call]
            end, Calls);
        _ ->
            Calls
    end.

is_websocket(Module) ->
    lists:member({websocket_handle, 2}, Module:module_info(exports)).

with_listener(Name, Setup, Probe, Scenario) ->
    Ref = {same_test, Name},
    {ok, _} = start_listener(Name, Ref, maps:get(transport, Setup, [{port, 0}]), protocol(Setup, Probe)),
    Server = #{name => Name, ref => Ref, port => (ranch_api(Name)):get_port(Ref), probe => Probe},
    try
        in_process(fun() -> Scenario(Server) end)
    after
        quiet(Server),
        probe:settle(Probe),
        stop_listener(Server)
    end.

protocol(Setup, Probe) ->
    Protocol = maps:get(protocol, Setup, #{}),
    Dispatch = cowboy_router:compile([{'_', [{Path, Module, with_probe(Options, Probe)}
        || {Path, Module, Options} <- routes(Setup)]}]),
    Env = maps:merge(#{dispatch => Dispatch, probe => Probe}, maps:get(env, Protocol, #{})),
    Protocol1 = Protocol#{env => Env},
    case is_http2() of
        true -> maps:merge(#{enable_connect_protocol => true}, Protocol1);
        false -> Protocol1
    end.

routes(#{handler := {Module, Options}}) -> [{"/[...]", Module, Options}];
routes(#{routes := Routes}) -> Routes;
routes(_) -> [].

with_probe(Options, Probe) when is_map(Options) -> Options#{probe => Probe};
with_probe(Options, _) -> Options.

-spec start_listener(name(), term(), ranch:opts(), cowboy:opts()) -> {ok, pid()} | {error, term()}.
start_listener(Name, Ref, Transport, Protocol) ->
    case {has_certificate(Transport), is_tls()} of
        {true, _} -> Name:start_tls(Ref, Transport, Protocol);
        {false, true} -> Name:start_tls(Ref, with_certificate(Transport), Protocol);
        {false, false} -> Name:start_clear(Ref, Transport, Protocol)
    end.

%% That of a listener of Outrider, for a supervisor of one's own.
-spec child_spec(term(), ranch:opts(), cowboy:opts()) -> supervisor:child_spec().
child_spec(Ref, Transport, Protocol) ->
    case is_tls() of
        true -> outrider:child_spec(Ref, ranch_ssl, with_certificate(Transport), Protocol);
        false -> outrider:child_spec(Ref, ranch_tcp, Transport, Protocol)
    end.

%% A case that is about TLS says so by its options.
has_certificate(#{socket_opts := SocketOpts}) -> has_certificate(SocketOpts);
has_certificate(SocketOpts) when is_list(SocketOpts) ->
    lists:any(fun(Key) -> lists:keymember(Key, 1, SocketOpts) end, [cert, certfile, certs_keys, sni_hosts, sni_fun]);
has_certificate(_) -> false.

-spec is_tls() -> boolean().
is_tls() ->
    os:getenv("OUTRIDER_TEST_TLS") =:= "true".

%% Whether a listener with these options speaks TLS.
-spec is_tls(ranch:opts()) -> boolean().
is_tls(Transport) ->
    has_certificate(Transport) orelse is_tls().

-spec is_http2() -> boolean().
is_http2() ->
    os:getenv("OUTRIDER_TEST_HTTP2") =:= "true".

%% What Req says of it, and the port that goes with it.
-spec scheme() -> {binary(), 80 | 443}.
scheme() ->
    case is_tls() of
        true -> {<<"https">>, 443};
        false -> {<<"http">>, 80}
    end.

%% What Req says of a WebSocket's handshake.
-spec handshake() -> {binary(), cowboy:http_version()}.
handshake() ->
    case is_http2() of
        true -> {<<"CONNECT">>, 'HTTP/2'};
        false -> {<<"GET">>, 'HTTP/1.1'}
    end.

with_certificate(Transport = #{socket_opts := SocketOpts}) ->
    Transport#{socket_opts := SocketOpts ++ tls_tunnel:certificate()};
with_certificate(SocketOpts) when is_list(SocketOpts) ->
    SocketOpts ++ tls_tunnel:certificate();
with_certificate(Transport) ->
    Transport.

%% Stops the listener, if the scenario has not.
-spec stop_listener(server()) -> ok.
stop_listener(#{name := Name, ref := Ref}) ->
    try Name:stop_listener(Ref) catch error:badarg -> ok end.

%% The module that answers get_port/1, info/1, procs/2 and the like for this server's listeners.
-spec ranch_api(name()) -> module().
ranch_api(cowboy) -> ranch;
ranch_api(outrider) -> outrider.

%% Waits until the listener has no connections any more; there is no event for that. But not forever: Cowboy does not see
%% that a client has gone while it does not read from it.
quiet(Server) -> quiet(Server, 100).

quiet(_, 0) ->
    ok;
quiet(#{name := Name, ref := Ref} = Server, Looks) ->
    try (ranch_api(Name)):procs(Ref, connections) of
        [] -> ok;
        [_ | _] -> timer:sleep(10), quiet(Server, Looks - 1)
    catch
        %% The scenario has stopped the listener.
        error:badarg -> ok
    end.

%% Runs a fun in a process of its own, so that what it opened is closed when it ends.
in_process(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        exit(try {done, Fun()} catch Class:Reason:Stack -> {failed, {Class, Reason, Stack}} end)
    end),
    receive
        {'DOWN', Monitor, process, Pid, Outcome} -> Outcome
    end.

wire({done, Result}) -> Result;
wire(Failed) -> Failed.

passed(#{wire := {failed, _}} = Transcript) -> error({scenario_failed, transcript:brief(Transcript)});
passed(Transcript) -> Transcript.
