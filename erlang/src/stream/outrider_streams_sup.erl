%%% The parent of a listener's stream processes.
%%%
%%% The sidecar's process spawns a stream; the stream then links itself to this process, whose one task is to be what
%%% Ranch's connection supervisor is to a Cowboy connection: the first of its $ancestors, the Parent of
%%% {'EXIT', Parent, _}, the one that logs an abnormal end, and the one that ends the streams when all ends. It keeps
%%% no list of its children: they are its links. So a stream costs it no message but its exit signal.
-module(outrider_streams_sup).
-behaviour(gen_server).

-export([start_link/1, streams/1, kill/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    ref :: ranch:ref(),
    parent :: pid(),
    logger :: module(),
    shutdown :: timeout() | brutal_kill
}).

-spec start_link(ranch:ref()) -> {ok, pid()}.
start_link(Ref) ->
    gen_server:start_link(?MODULE, {Ref, self()}, []).

%% The streams that run under the supervisor Pid.
-spec streams(pid()) -> [pid()].
streams(Pid) ->
    [Child || {_, Child, _, _} <- supervisor:which_children(Pid)].

%% Kill streams that did not end in the shutdown time. Silently, as supervisors do.
-spec kill(pid(), [pid()]) -> ok.
kill(Supervisor, Streams) ->
    gen_server:call(Supervisor, {kill, Streams}).

-spec init({ranch:ref(), pid()}) -> {ok, #state{}}.
init({Ref, Parent}) ->
    process_flag(trap_exit, true),
    TransOpts = outrider_registry:transport_options(Ref),
    ok = outrider_registry:set_streams_sup(Ref, self()),
    {ok, #state{
        ref = Ref,
        parent = Parent,
        logger = outrider_options:logger(TransOpts),
        shutdown = outrider_options:shutdown(TransOpts)
    }}.

%% The calls of module supervisor.
-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(which_children, _From, State) ->
    {reply, [{outrider_stream, Pid, worker, [outrider_stream]} || Pid <- children(State)], State};
handle_call(count_children, _From, State) ->
    Count = length(children(State)),
    {reply, [{specs, 1}, {active, Count}, {supervisors, 0}, {workers, Count}], State};
handle_call({kill, Streams}, _From, State) ->
    {reply, kill(Streams), State};
handle_call(_Request, _From, State) ->
    {reply, {error, ?MODULE}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'EXIT', Pid, Reason}, State) ->
    report(Pid, Reason, State),
    {noreply, State};
handle_info(Message, State = #state{ref = Ref, logger = Logger}) ->
    ranch:log(error, "Ranch listener ~p received unexpected message ~p~n", [Ref, Message], Logger),
    {noreply, State}.

%% By the time a listener stops, its sidecar's process has ended the streams; here are those that outlived it, and those
%% of a listener that gives up or whose supervisor was killed. They are told by a message, as by the sidecar's process.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, State = #state{ref = Ref}) ->
    ok = end_streams(State),
    outrider_telemetry:execute([listener, stop], #{system_time => erlang:system_time()}, #{listener => Ref, reason => Reason}).

end_streams(State = #state{shutdown = brutal_kill}) ->
    kill(children(State));
end_streams(State = #state{shutdown = Shutdown}) ->
    Monitors = maps:from_list([{monitor(process, Pid), Pid} || Pid <- children(State)]),
    _ = [Pid ! {'EXIT', self(), shutdown} || Pid <- maps:values(Monitors)],
    Timer =
        case Shutdown of
            infinity -> undefined;
            Ms -> erlang:start_timer(Ms, self(), kill)
        end,
    wait(Monitors, Timer).

wait(Monitors, _Timer) when map_size(Monitors) =:= 0 ->
    ok;
wait(Monitors, Timer) ->
    receive
        {'DOWN', Monitor, process, _, _} -> wait(maps:remove(Monitor, Monitors), Timer);
        {timeout, Timer, kill} -> kill(maps:values(Monitors))
    end.

kill(Pids) ->
    lists:foreach(
        fun(Pid) ->
            unlink(Pid),
            exit(Pid, kill)
        end,
        Pids
    ).

children(#state{parent = Parent}) ->
    {links, Links} = process_info(self(), links),
    [Pid || Pid <- Links, is_pid(Pid), Pid =/= Parent].

%% In the words of Ranch, so that what reads the log for them goes on to find them.
report(_, normal, _) ->
    ok;
report(_, shutdown, _) ->
    ok;
report(_, {shutdown, _}, _) ->
    ok;
report(Pid, Reason, #state{ref = Ref, logger = Logger}) ->
    ranch:log(
        error,
        "Ranch listener ~p had connection process started with ~p:start/3 at ~p exit with reason: ~999999p~n",
        [Ref, outrider_stream, Pid, Reason],
        Logger
    ).
