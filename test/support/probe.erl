%% Collects what handlers do, in the order in which it happens, for one run of a scenario.
%%
%% A handler finds its probe in its options. It notes events, and has itself watched, so that the way its process
%% ends becomes the last event: `{exit, Reason}'. The scenario can wait for an event. The probe is a process of its
%% own because the case's process is busy with the scenario. It is linked to the case's process and dies with it.
-module(probe).

-export([start/0, stop/1, calls/1, settle/1]).
-export([note/2, watch/1, watch/2, log/2]).
-export([await/2, await_exit/1, await_exits/2, process/1]).

-export_type([probe/0]).

-opaque probe() :: pid().

%% Far longer than any event takes to arrive, even on a busy machine.
-define(PATIENCE, 5000).

-spec start() -> probe().
start() ->
    spawn_link(fun() -> loop(#{calls => [], log => [], watched => #{}, process => none, waiting => []}) end).

%% Ends the probe and returns what was logged.
-spec stop(probe()) -> [term()].
stop(Probe) ->
    Log = call(Probe, log),
    unlink(Probe),
    exit(Probe, kill),
    Log.

%% All events so far.
-spec calls(probe()) -> [term()].
calls(Probe) ->
    call(Probe, calls).

%% Waits until all watched processes have ended. One that has not becomes the event `still_running'.
-spec settle(probe()) -> ok.
settle(Probe) ->
    case wait(Probe, settled) of
        timeout -> note(Probe, still_running);
        _ -> ok
    end.

-spec note(probe(), term()) -> ok.
note(Probe, Event) ->
    Probe ! {note, Event},
    ok.

%% Watches the calling process. Synchronous: the process cannot end before it is watched.
-spec watch(probe()) -> ok.
watch(Probe) ->
    watch(Probe, exit).

%% The same, with another word than `exit' for its end, where a run has more than one process.
-spec watch(probe(), atom()) -> ok.
watch(Probe, Word) ->
    call(Probe, {watch, self(), Word}).

%% Waits for this event, or the first one that the fun accepts, among those that were and those to come.
-spec await(probe(), fun((term()) -> boolean()) | term()) -> term() | timeout.
await(Probe, Accept) when is_function(Accept, 1) ->
    wait(Probe, {event, Accept});
await(Probe, Event) ->
    await(Probe, fun(Noted) -> Noted =:= Event end).

%% Waits for the end of a watched process.
-spec await_exit(probe()) -> term().
await_exit(Probe) ->
    await(Probe, fun(Event) -> is_tuple(Event) andalso element(1, Event) =:= exit end).

%% Waits until this many processes that are watched as `exit' have ended.
-spec await_exits(probe(), pos_integer()) -> ok | timeout.
await_exits(Probe, Count) ->
    wait(Probe, {exits, Count}).

%% Waits for the first process that is watched as `exit'.
-spec process(probe()) -> pid() | timeout.
process(Probe) ->
    wait(Probe, process).

-spec log(probe(), term()) -> ok.
log(Probe, Entry) ->
    Probe ! {log, Entry},
    ok.

call(Probe, Request) ->
    Ref = make_ref(),
    Probe ! {Request, self(), Ref},
    receive {Ref, Reply} -> Reply end.

wait(Probe, What) ->
    Ref = make_ref(),
    Probe ! {{wait, What}, self(), Ref},
    receive
        {Ref, Reply} -> Reply
    after ?PATIENCE ->
        timeout
    end.

loop(#{calls := Calls, log := Log, watched := Watched, waiting := Waiting} = State) ->
    receive
        {note, Event} ->
            loop(answer(State#{calls := [Event | Calls]}));
        {log, Entry} ->
            loop(State#{log := [Entry | Log]});
        {'DOWN', Monitor, process, _, Reason} ->
            {Word, Rest} = maps:take(Monitor, Watched),
            loop(answer(State#{calls := [{Word, Reason} | Calls], watched := Rest}));
        {calls, From, Ref} ->
            From ! {Ref, lists:reverse(Calls)},
            loop(State);
        {log, From, Ref} ->
            From ! {Ref, lists:reverse(Log)},
            loop(State);
        {{watch, Pid, Word}, From, Ref} ->
            Monitor = monitor(process, Pid),
            From ! {Ref, ok},
            loop(answer(first(Word, Pid, State#{watched := Watched#{Monitor => Word}})));
        {{wait, What}, From, Ref} ->
            loop(answer(State#{waiting := [{What, From, Ref} | Waiting]}))
    end.

first(exit, Pid, #{process := none} = State) -> State#{process := Pid};
first(_, _, State) -> State.

%% Answers those whose wait is over.
answer(#{waiting := Waiting} = State) ->
    State#{waiting := [Waiter || {What, From, Ref} = Waiter <- Waiting,
        case met(What, State) of
            {yes, Reply} ->
                From ! {Ref, Reply},
                false;
            no ->
                true
        end]}.

met(settled, #{watched := Watched}) when map_size(Watched) =:= 0 -> {yes, ok};
met(settled, _) -> no;
met({exits, Count}, #{calls := Calls}) ->
    case length([exit || {exit, _} <- Calls]) of
        Ended when Ended >= Count -> {yes, ok};
        _ -> no
    end;
met(process, #{process := Pid}) when is_pid(Pid) -> {yes, Pid};
met(process, _) -> no;
met({event, Accept}, #{calls := Calls}) ->
    case lists:search(Accept, lists:reverse(Calls)) of
        {value, Event} -> {yes, Event};
        false -> no
    end.
