%% Keeps the store, and the `pg` scope of those who follow changes or are present.
-module(taskboard_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    ok = taskboard_metrics:new(), % this process owns the table
    {ok,
        {#{}, [
            #{id => pg, start => {pg, start_link, [taskboard]}},
            #{id => store, start => {taskboard_store, start_link, []}}
        ]}}.
