%% A drain that is under way, for the suites that look at a listener meanwhile.
-module(drain_case).

-export([drain/2, result/1, progress/1]).

%% In a process of its own, which exits with the result.
-spec drain(ranch:ref(), outrider_drain:options()) -> {pid(), reference()}.
drain(Ref, Options) ->
    spawn_monitor(fun() -> exit(outrider:drain(Ref, Options)) end).

-spec result({pid(), reference()}) -> term().
result({Pid, Monitor}) ->
    receive {'DOWN', Monitor, process, Pid, Result} -> Result end.

%% What info/1 says of the drain; nothing if there is none.
-spec progress(ranch:ref()) -> map().
progress(Ref) ->
    maps:get(drain, outrider:info(Ref), #{}).
