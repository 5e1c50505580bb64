%%% Notices a sidecar that has stopped, as by SIGSTOP or a loop that never ends, although its end of the pipes is open.
%%%
%%% A process for each sidecar, linked to outrider_sidecar, and apart from all that may have to wait for a port that nobody
%%% reads. It sends a ping every quarter of the transport option watchdog, without waiting for the port,
%%% and looks at the port's counters. Where the sidecar has ended the ping finds the pipe's end, which closes the port: the exit
%%% status, for which the VM waits otherwise, comes by another process (erl_child_setup), and has been seen to get lost
%%% (erlang/otp#11278). So it pings with watchdog => infinity, too.
%%%
%%% Any bytes from the sidecar are a sign of life, and so is that it reads from a full
%%% pipe: then it is busy. A sidecar without one for a whole period is killed, and the rest is as for any that dies.
%%%
%%% Silence is counted in ticks of this process, each of which can be late but none too early: a VM that was itself stopped,
%%% or a machine that was suspended, sees one tick of silence and not an hour. Its high priority keeps the ticks
%%% (and the pings, by which the sidecar knows that the VM runs) coming when the VM is busy.
-module(outrider_watchdog).

-export([start_link/3]).
-export([init/1, loop/1]).

%% Pings in a period, and the period where nobody has given one.
-define(TICKS, 4).
-define(DEFAULT_PERIOD_MS, 10000).

-record(watchdog, {
    ref :: ranch:ref(),
    port :: port(),
    logger :: module(),
    period :: pos_integer(),
    %% Silence for a period is the sidecar's end.
    kills :: boolean(),
    %% Ticks since the last sign of life, and what the port's counters were then.
    silent = 0 :: non_neg_integer(),
    seen = {0, 0, 0} :: counters()
}).

%% Bytes from the sidecar; bytes to it that have left the VM, and those that still wait for the pipe.
-type counters() :: {non_neg_integer(), integer(), non_neg_integer()}.

-spec start_link(ranch:ref(), port(), map()) -> ok.
start_link(Ref, Port, TransOpts) ->
    {Period, Kills} =
        case outrider_options:watchdog(TransOpts) of
            infinity -> {?DEFAULT_PERIOD_MS, false};
            Ms -> {Ms, true}
        end,
    State = #watchdog{
        ref = Ref, port = Port, logger = outrider_options:logger(TransOpts), period = Period, kills = Kills
    },
    _ = proc_lib:spawn_opt(?MODULE, init, [State], [link, {priority, high}]),
    ok.

-spec init(#watchdog{}) -> no_return().
init(State) ->
    loop(State).

-spec loop(#watchdog{}) -> no_return().
loop(State = #watchdog{port = Port, period = Period, silent = Silent, seen = Seen}) ->
    ping(Port),
    receive
    after max(1, Period div ?TICKS) -> ok
    end,
    Now = counters(Port),
    Alive = is_alive(Seen, Now),
    if
        Alive -> ?MODULE:loop(State#watchdog{silent = 0, seen = Now});
        Silent < ?TICKS orelse not State#watchdog.kills -> ?MODULE:loop(State#watchdog{silent = Silent + 1, seen = Now});
        true -> kill(State)
    end.

%% What is not sent to a port that is busy need not be: the sidecar has enough to read.
ping(Port) ->
    try erlang:port_command(Port, outrider_protocol:packet(1, outrider_protocol:bundle(0, [ping])), [nosuspend]) of
        _ -> ok
    catch
        error:badarg -> exit(normal)
    end.

counters(Port) ->
    case {erlang:port_info(Port, input), erlang:port_info(Port, output), erlang:port_info(Port, queue_size)} of
        {{input, Input}, {output, Output}, {queue_size, Waiting}} -> {Input, Output - Waiting, Waiting};
        _ -> exit(normal)
    end.

%% Bytes that leave the VM are a sign of life only where some had to wait: the pipe was full, and somebody has made room.
is_alive({Input, Left, Waiting}, {Input, NowLeft, _}) -> Waiting > 0 andalso NowLeft > Left;
is_alive(_, _) -> true.

%% The number is that of a process of ours as long as the port has not been told of its end. A VM that has no descriptor for
%% the command at this moment tries again at the next tick: nobody else ends a process that stands still.
-spec kill(#watchdog{}) -> no_return().
kill(State = #watchdog{ref = Ref, port = Port, logger = Logger, period = Period, silent = Silent}) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, OsPid} ->
            Format = "Outrider listener ~p: its sidecar (OS process ~b) has been silent for ~b ms and is killed~n",
            _ = Silent =:= ?TICKS andalso ranch:log(error, Format, [Ref, OsPid, Period], Logger),
            try os:cmd("kill -9 " ++ integer_to_list(OsPid)) of
                _ -> exit({shutdown, sidecar_silent})
            catch
                error:_ -> ?MODULE:loop(State#watchdog{silent = Silent + 1})
            end;
        undefined ->
            exit(normal)
    end.
