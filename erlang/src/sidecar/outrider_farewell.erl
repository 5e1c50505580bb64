%%% The orderly end of a sidecar: nobody can connect any more, its streams end, and then it leaves.
%%%
%%% Runs in the process of outrider_sidecar, at its end. The streams are told as by an exit signal from their parent (a message,
%%% so that handlers that do not trap exits get their terminate/3, too) and have the shutdown time; what their handlers
%%% still send goes out. Then the port closes, which sends the sidecar away.
-module(outrider_farewell).

-export([say/3]).

%% How long a sidecar that is told to leave may take to close its listening sockets.
-define(LEAVE_MS, 2000).

-spec say(outrider_context:context(), outrider_listening:listening(), outrider_streams:streams()) -> ok.
say(Context, Listening, Streams) ->
    #{port := Port, collector := Collector, parent := Parent, shutdown := Shutdown} = Context,
    Left = outrider_listening:leave(Listening),
    _ = [Pid ! {'EXIT', Parent, shutdown} || Pid <- outrider_streams:pids(Streams)],
    ok = wait(timer(Shutdown), Context, Left, Streams),
    ok = outrider_collector:flush(?LEAVE_MS, Collector),
    outrider_launch:close(Port).

timer(infinity) -> undefined;
timer(brutal_kill) -> erlang:start_timer(0, self(), kill);
timer(Ms) -> erlang:start_timer(Ms, self(), kill).

%% The rest of the streams' lives.
wait(Timer, Context, Listening, Streams) ->
    case {outrider_streams:is_empty(Streams), outrider_listening:is_nowhere(Listening)} of
        {true, true} -> ok;
        %% Only the answer to the order is missing; a sidecar that does not give it hangs.
        {true, false} -> wait(Timer, ?LEAVE_MS, Context, Listening, Streams);
        {false, _} -> wait(Timer, infinity, Context, Listening, Streams)
    end.

wait(Timer, Patience, Context = #{ref := Ref, port := Port, parent := Parent}, Listening, Streams) ->
    receive
        {Port, {data, Packet}} ->
            {Own, Next} = outrider_streams:dispatch_last(outrider_protocol:decode(Packet), Streams),
            wait(Timer, Context, lists:foldl(fun(Event, L) -> own(Event, Ref, L) end, Listening, Own), Next);
        {Stream, _, process, Pid, Reason} when is_integer(Stream) ->
            wait(Timer, Context, Listening, outrider_streams:down(Stream, Pid, Reason, Streams));
        {over, Stream} ->
            wait(Timer, Context, Listening, outrider_streams:over(Stream, Streams));
        {kept, Stream, First, Pid} ->
            wait(Timer, Context, Listening, outrider_streams:kept(Stream, First, Pid, Streams));
        {Port, {exit_status, _}} ->
            ok;
        {timeout, Timer, kill} ->
            ok = outrider_streams_sup:kill(Parent, outrider_streams:pids(Streams)),
            wait(undefined, Context, Listening, outrider_streams:new(Context))
    after Patience ->
        ok
    end.

own({log, Level, Target, Text}, Ref, Listening) ->
    ok = outrider_log:said(Ref, Level, Target, Text),
    Listening;
own({listening, _} = Event, _, Listening) ->
    outrider_listening:event(Event, Listening);
own(_, _, Listening) ->
    Listening.
