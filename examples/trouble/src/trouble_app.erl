%% Starts a listener, handlers and clients that misbehave on purpose, for whoever wants to practise docs/operations.md, "Sockets are
%% slow". After SECONDS (600) it has ended, and the VM with it.
%%
%% The port is the environment variable PORT, or 8080. The listener's limits are the defaults.
-module(trouble_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1, port/0]).

start(_Type, _Args) ->
    Dispatch = cowboy_router:compile([
        {'_', [
            {"/dashboard/[...]", outrider_dashboard, #{may => fun may/2}},
            {"/metrics", outrider_prometheus, #{}},
            {"/echo", trouble_handler, echo},
            {"/feed", trouble_handler, feed},
            {"/board", trouble_handler, board},
            {"/report", trouble_handler, report},
            {"/", trouble_handler, front}
        ]}
    ]),
    Port = list_to_integer(os:getenv("PORT", "8080")),
    case outrider:start_clear(trouble, [{port, Port}], #{env => #{dispatch => Dispatch}}) of
        {ok, _Listener} -> trouble_sup:start_link(port());
        {error, Reason} -> {error, Reason}
    end.

%% Everybody may look at /dashboard; who sits at this machine may do more.
may(look, _Req) -> true;
may(_Action, #{peer := {Ip, _}, host := Host}) -> Ip =:= {127, 0, 0, 1} andalso lists:member(Host, [<<"localhost">>, <<"127.0.0.1">>]).

prep_stop(State) ->
    ok = outrider:stop_listener(trouble),
    State.

stop(_State) ->
    ok.

%% Where it listens.
port() ->
    outrider:get_port(trouble).
