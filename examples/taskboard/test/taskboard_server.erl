%% The board under test, on the server that a group of cases names, and what cannot be seen through a client's eyes.
-module(taskboard_server).

-export([start/1, stop/0, count/1, until/1]).

-define(TIMEOUT, 20000). % milliseconds

%% Starts the board on a free port, and tells which.
start(Server) ->
    ok = case application:load(taskboard) of {error, {already_loaded, _}} -> ok; Loaded -> Loaded end,
    ok = application:set_env(taskboard, listener, Server),
    ok = application:set_env(taskboard, port, 0),
    {ok, _} = application:ensure_all_started(taskboard),
    port(Server).

port(cowboy) -> ranch:get_port(taskboard);
port(outrider) -> outrider:get_port(taskboard).

stop() ->
    ok = application:stop(taskboard).

%% How many requests have been answered with that status.
count(Status) ->
    lists:sum([Number || [Counted, Number] <- taskboard_metrics:list(), Counted =:= Status]).

%% Waits for what nobody announces; it is asked for again and again.
until(Holds) -> until(Holds, erlang:monotonic_time(millisecond) + ?TIMEOUT).

until(Holds, Deadline) ->
    Holds() orelse
        begin
            erlang:monotonic_time(millisecond) < Deadline orelse error(timeout),
            receive after 5 -> until(Holds, Deadline) end
        end.
