%% Starts the ticker: the page and its files from priv/, the numbers at /numbers.
%%
%% The port is the environment variable PORT, or 8080.
-module(ticker_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1, port/0]).

start(_Type, _Args) ->
    {ok, Sup} = ticker_sup:start_link(),
    Dispatch = cowboy_router:compile([
        {'_', [
            {"/", cowboy_static, {priv_file, ticker, "index.html"}},
            {"/assets/[...]", cowboy_static, {priv_dir, ticker, "assets"}},
            {"/numbers", ticker_handler, []}
        ]}
    ]),
    Port = list_to_integer(os:getenv("PORT", "8080")),
    case outrider:start_clear(ticker, [{port, Port}], #{env => #{dispatch => Dispatch}}) of
        {ok, _Listener} -> {ok, Sup};
        {error, Reason} -> {error, Reason}
    end.

prep_stop(State) ->
    ok = outrider:stop_listener(ticker),
    State.

stop(_State) ->
    ok.

%% Where it listens.
port() ->
    outrider:get_port(ticker).
