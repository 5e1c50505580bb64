%% Keeps the `pg` scope in which each room is a group of handler processes, on all nodes of a cluster.
-module(chat_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    {ok, {#{}, [#{id => pg, start => {pg, start_link, [chat]}}]}}.
