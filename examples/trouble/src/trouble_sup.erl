%% Keeps the clients, what publishes to some of them, and the end of it all.
-module(trouble_sup).
-behaviour(supervisor).

-export([start_link/1, start_end/0, init/1]).

start_link(Port) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, Port).

init(Port) ->
    Clients = [
        #{id => {Kind, Number}, start => {trouble_client, start_link, [Kind, Port]}, shutdown => brutal_kill}
     || {Kind, Count} <- trouble_client:kinds(), Number <- lists:seq(1, Count)
    ],
    Publisher = #{id => publisher, start => {trouble_handler, start_publisher, []}, shutdown => brutal_kill},
    End = #{id => 'end', start => {?MODULE, start_end, []}, shutdown => brutal_kill},
    {ok, {#{intensity => 100, period => 1}, [Publisher, End | Clients]}}.

%% Load that nobody ends is a nuisance.
start_end() ->
    Seconds = list_to_integer(os:getenv("SECONDS", "600")),
    {ok, spawn_link(fun() ->
        timer:sleep(Seconds * 1000),
        io:format("~nThe trouble is over.~n"),
        init:stop()
    end)}.
