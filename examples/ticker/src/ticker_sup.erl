%% Keeps the source of the numbers.
-module(ticker_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    {ok, {#{}, [#{id => ticker_source, start => {ticker_source, start_link, []}}]}}.
