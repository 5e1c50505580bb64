%% A listener of Outrider alone, for the suites whose promises Cowboy has no part in. Its handlers are routes as in
%% same_test: those whose options are a map find the probe there.
-module(own_case).

-export([init/3, listen/2, protocol/2, server/1, stop/1]).

%% Besides the routes the listener's options; port 0 where there is no other. The probe is a new one unless it is given.
-type setup() :: #{
    routes := [{iodata(), module(), term()}],
    transport => map(),
    protocol => cowboy:opts(),
    probe => probe:probe() | none
}.

%% For init_per_testcase: starts a listener that has the name of the case, whose server is server/1.
-spec init(atom(), setup(), [{atom(), term()}]) -> [{atom(), term()}].
init(Case, Setup, Config) ->
    [{server, listen(Case, Setup)} | Config].

-spec listen(ranch:ref(), setup()) -> same_test:server().
listen(Ref, Setup = #{routes := Routes}) ->
    same_test:start([outrider]),
    Probe = case Setup of #{probe := Given} -> Given; #{} -> probe:start() end,
    Transport = maps:merge(#{socket_opts => [{port, 0}]}, maps:get(transport, Setup, #{})),
    {ok, _} = same_test:start_listener(outrider, Ref, Transport,
        maps:merge(maps:get(protocol, Setup, #{}), protocol(Routes, Probe))),
    #{name => outrider, ref => Ref, port => outrider:get_port(Ref), probe => Probe, tls => same_test:is_tls(Transport)}.

%% The protocol options with these routes.
-spec protocol([{iodata(), module(), term()}], probe:probe() | none) -> cowboy:opts().
protocol(Routes, Probe) ->
    #{env => #{probe => Probe, dispatch => cowboy_router:compile([{'_', [{Path, Handler, with(Probe, Options)}
        || {Path, Handler, Options} <- Routes]}])}}.

with(Probe, Options) when is_map(Options) -> Options#{probe => Probe};
with(_, Options) -> Options.

-spec server([{atom(), term()}]) -> same_test:server().
server(Config) ->
    proplists:get_value(server, Config).

%% For end_per_testcase: stops the listener, if the case has not.
-spec stop(ranch:ref()) -> ok.
stop(Ref) ->
    same_test:stop_listener(#{name => outrider, ref => Ref}).
