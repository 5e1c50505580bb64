%% The numbers, and who gets them.
%%
%% Ten times a second some of them change, and all members are sent `rows`, then `ROW VALUE` for each that has changed, one a
%% line; one who joins gets all. Once a second they are sent `figures MODE CLIENTS DELIVERIES VM SIDECAR`: how many members there
%% are, how many frames they were sent in the last second, each counted for each, and what CPU time the two took in it, in percent
%% of one core (`-` where that is not known: there is no /proc, or a sidecar has been started again).
-module(ticker_source).
-behaviour(gen_server).

-export([start_link/0, join/0, set_mode/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(ROWS, 2000).
-define(CHANGES, 200). % of each tick
-define(TICK, 100). % milliseconds
-define(SECOND, 1000).
-define(HEARTBEAT, 25000). % milliseconds; the browser's answer keeps a connection from its idle timeout of 60 s

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% The calling WebSocket is sent the numbers until it ends.
join() ->
    gen_server:cast(?MODULE, {join, self()}).

%% How all are sent them: each by its own process, or by a broadcast.
set_mode(Mode) ->
    gen_server:cast(?MODULE, {mode, Mode}).

init([]) ->
    [self() ! Message || Message <- [tick, second, heartbeat]],
    Rows = maps:from_list([{Row, 1000 + rand:uniform(100000)} || Row <- lists:seq(1, ?ROWS)]),
    {ok, #{rows => Rows, members => #{}, mode => broadcast, deliveries => 0, cpu => cpu()}}.

handle_call(_Request, _From, State) ->
    {reply, ignored, State}.

handle_cast({join, Pid}, State = #{rows := Rows, members := Members}) ->
    %% In order with what it will be sent as a member.
    {noreply, send([Pid], numbers(maps:to_list(Rows)), State#{members := Members#{Pid => monitor(process, Pid)}})};
handle_cast({mode, Mode}, State) ->
    {noreply, State#{mode := Mode}}.

handle_info(tick, State = #{rows := Rows}) ->
    _ = erlang:send_after(?TICK, self(), tick),
    Changed = maps:from_list([change(rand:uniform(?ROWS), Rows) || _ <- lists:seq(1, ?CHANGES)]),
    {noreply, send(numbers(maps:to_list(Changed)), State#{rows := maps:merge(Rows, Changed)})};
handle_info(second, State = #{members := Members, mode := Mode, deliveries := Deliveries, cpu := Before}) ->
    _ = erlang:send_after(?SECOND, self(), second),
    Now = cpu(),
    Words = ["figures", atom_to_list(Mode), integer_to_list(map_size(Members)), integer_to_list(Deliveries) | percent(Before, Now)],
    {noreply, send({text, lists:join(" ", Words)}, State#{deliveries := 0, cpu := Now})};
handle_info(heartbeat, State) ->
    _ = erlang:send_after(?HEARTBEAT, self(), heartbeat),
    {noreply, send(ping, State)};
handle_info({'DOWN', _, process, Pid, _}, State = #{members := Members}) ->
    {noreply, State#{members := maps:remove(Pid, Members)}}.

change(Row, Rows) ->
    {Row, max(1, map_get(Row, Rows) + rand:uniform(401) - 201)}.

numbers(Rows) ->
    {text, ["rows" | [[$\n, integer_to_list(Row), $\s, integer_to_list(Value)] || {Row, Value} <- Rows]]}.

send(Frame, State = #{members := Members}) ->
    send(maps:keys(Members), Frame, State).

%% The two ways.
send(Pids, Frame, State = #{mode := broadcast, deliveries := Deliveries}) ->
    State#{deliveries := Deliveries + outrider:send_many(Pids, Frame)};
send(Pids, Frame, State = #{mode := each, deliveries := Deliveries}) ->
    lists:foreach(fun(Pid) -> Pid ! {send, Frame} end, Pids),
    State#{deliveries := Deliveries + length(Pids)}.

%% CPU time of this VM and of its sidecars so far, in hundredths of a second or unknown, and when that was.
cpu() ->
    {erlang:monotonic_time(millisecond), ticks([os:getpid()]), ticks(sidecars())}.

sidecars() ->
    try outrider:info(ticker) of
        #{sidecars := Sidecars} -> [integer_to_list(Pid) || #{os_pid := Pid} <- Sidecars]
    catch
        error:badarg -> []
    end.

ticks(Pids) ->
    Ticks = [ticks_of(Pid) || Pid <- Pids],
    case lists:member(unknown, Ticks) of
        true -> unknown;
        false -> lists:sum(Ticks)
    end.

%% User and system time are the 14th and 15th word of /proc/PID/stat; the second is a name in parentheses.
ticks_of(Pid) ->
    case file:read_file(["/proc/", Pid, "/stat"]) of
        {ok, Stat} ->
            [_, Rest] = string:split(Stat, ")", trailing),
            {_, [User, System | _]} = lists:split(11, string:lexemes(Rest, " ")),
            binary_to_integer(User) + binary_to_integer(System);
        {error, _} ->
            unknown
    end.

percent({Then, VM0, Sidecar0}, {Now, VM, Sidecar}) ->
    [share(Now - Then, VM0, VM), share(Now - Then, Sidecar0, Sidecar)].

share(Milliseconds, Before, After) when is_integer(Before), is_integer(After), After >= Before, Milliseconds > 0 ->
    integer_to_list((After - Before) * 1000 div Milliseconds);
share(_, _, _) ->
    "-".
