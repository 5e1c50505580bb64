%%% The owner of one sidecar: starts the OS process as a port, reads its packets, and hands each event to its stream.
%%%
%%% A gen_server. A packet is a list of events of one turn of the sidecar's loop; it is decoded once and dispatched in one
%%% pass, each event as the message {Port, Event} to the process of its stream. Streams write to the port themselves, or by
%%% outrider_collector, so nothing that goes to a client passes here. This process spawns the streams, keeps their
%%% number → process, and monitors them: for one that dies without having ended its stream, it has the client's connection closed.
%%%
%%% The sidecar's life is this process's: if either ends, the port closes, and the other follows. The streams are not
%%% linked to it; they monitor the port.
-module(outrider_sidecar).
-behaviour(gen_server).

-export([start_link/2, info/1, follow/1, drain/1, tell/2, set_max_connections/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

%% How long a sidecar may take to answer whoever asks something of all of them.
-define(ANSWER_MS, 5000).
%% How long a sidecar that is told to leave may take to close its listening sockets.
-define(LEAVE_MS, 2000).
%% Events that go to a handler; all others are for the stream's process itself.
-define(IS_FRAME(Event),
    (is_atom(Event) orelse element(1, Event) =:= text orelse element(1, Event) =:= binary orelse
        element(1, Event) =:= part orelse element(1, Event) =:= ping orelse element(1, Event) =:= pong)
).

-record(sidecar, {
    ref :: ranch:ref(),
    %% Which of the listener's sidecars this is.
    number :: pos_integer(),
    port :: port(),
    collector :: outrider_collector:collector(),
    hello :: #{atom() => term()},
    %% Where it listens; nowhere while it is suspended. What it was ordered in this matter, and who waits for it.
    listening :: [outrider_registry:address()],
    order = none :: none | suspend | resume | leave,
    waiting = [] :: [gen_server:from()],
    shutdown :: timeout() | brutal_kill,
    context :: outrider_stream:context(),
    streams = #{} :: #{pos_integer() => pid()},
    %% Which of them are not WebSockets (yet), for info/1. The others are the many.
    requests = #{} :: #{pos_integer() => []},
    %% Which of them are to be told of a drain, and the drain, once there is one.
    told = #{} :: #{pos_integer() => []},
    drain = none :: none | outrider_drain:options(),
    accepted = 0 :: non_neg_integer()
}).

-spec start_link(ranch:ref(), pos_integer()) -> {ok, pid()} | {error, term()}.
start_link(Ref, Number) ->
    gen_server:start_link(?MODULE, {Ref, Number}, [{spawn_opt, [{message_queue_data, off_heap}]}]).

%% The functions below ask all of a listener's sidecars at once. One that dies meanwhile has nothing to answer: the next
%% one in its place reads the registry when it starts.

-spec info([pid()]) -> [#{atom() => term()}].
info(Pids) ->
    lists:sort(fun(#{number := A}, #{number := B}) -> A =< B end, [Info || {reply, Info} <- ask(Pids, info)]).

%% Listen, or do not, as the registry says.
-spec follow([pid()]) -> ok | {error, inet:posix() | timeout}.
follow(Pids) ->
    case [Reason || Answer <- ask(Pids, follow), {error, Reason} <- [outcome(Answer)]] of
        [] -> ok;
        [Reason | _] -> {error, Reason}
    end.

%% The same, and from now on each HTTP connection ends with the request that is being answered, at once if there is none.
-spec drain([pid()]) -> ok.
drain(Pids) ->
    _ = ask(Pids, drain),
    ok.

%% Tell handlers of a drain: those that asked for it, now and after their upgrade. Returns all streams.
-spec tell([pid()], outrider_drain:options()) -> [pid()].
tell(Pids, Drain) ->
    lists:append([Streams || {reply, Streams} <- ask(Pids, {tell, Drain})]).

-spec set_max_connections([pid()], ranch:max_conns()) -> ok.
set_max_connections(Pids, Max) ->
    _ = ask(Pids, {max_connections, Max}),
    ok.

ask(Pids, Request) ->
    Requests = [gen_server:send_request(Pid, Request) || Pid <- Pids],
    Deadline = {abs, erlang:monotonic_time(millisecond) + ?ANSWER_MS},
    [gen_server:receive_response(Id, Deadline) || Id <- Requests].

outcome({reply, Result}) -> Result;
outcome({error, _}) -> ok;
outcome(timeout) -> {error, timeout}.

-spec init({ranch:ref(), pos_integer()}) -> {ok, #sidecar{}} | {stop, term()}.
init({Ref, Number}) ->
    process_flag(trap_exit, true),
    _ = outrider_protocol:atoms(),
    TransOpts = outrider_registry:transport_options(Ref),
    ProtoOpts = outrider_registry:protocol_options(Ref),
    Last = outrider_registry:last_address(Ref),
    case start(Ref, TransOpts, ProtoOpts, Last) of
        {ok, Port, Hello = #{listening := Listening}} ->
            %% The link says when it fails; this, also when another process or a cut link ends it.
            _ = monitor(port, Port),
            ok = outrider_watchdog:start_link(Ref, Port, TransOpts),
            Collector = outrider_collector:start_link(Port),
            Sidecar = #sidecar{
                ref = Ref,
                number = Number,
                port = Port,
                collector = Collector,
                hello = Hello,
                listening = Listening,
                shutdown = outrider_options:shutdown(TransOpts),
                context = outrider_stream:context(Ref, Number, Port, Collector, TransOpts)
            },
            {ok, listening(Listening, Sidecar)};
        {error, Reason} ->
            ranch:log(error, "Failed to start Outrider listener ~p with ~999999p for reason ~999999p (~s)~n",
                [Ref, TransOpts, Reason, outrider_launch:describe(Reason)], outrider_options:logger(TransOpts)),
            {stop, reason(Ref, Reason)}
    end.

%% The first sidecar of a listener gets the address now or not at all. One after it goes there, too; it may be about to be
%% left by the sidecar before it. While the listener is suspended it listens nowhere.
start(Ref, TransOpts, ProtoOpts, undefined) ->
    ok = outrider_options:log_unsupported(Ref, TransOpts, ProtoOpts),
    outrider_launch:open(outrider_options:arguments(Ref, TransOpts, ProtoOpts, undefined));
start(Ref, TransOpts, ProtoOpts, Last) ->
    LastPort =
        case Last of
            {local, _} -> undefined;
            {_Ip, Port} -> Port
        end,
    Suspended = outrider_registry:status(Ref) =:= suspended,
    outrider_launch:reopen(
        outrider_options:arguments(Ref, TransOpts, ProtoOpts, LastPort) ++ ["--suspended", atom_to_list(Suspended)]
    ).

-spec handle_call(term(), gen_server:from(), #sidecar{}) -> {reply, term(), #sidecar{}} | {noreply, #sidecar{}}.
handle_call(follow, From, State = #sidecar{waiting = Waiting}) ->
    {noreply, follow_registry(State#sidecar{waiting = [From | Waiting]})};
%% Ordered to suspend even where it is suspended: with its answer all requests that it has let in are known.
handle_call(drain, From, State = #sidecar{waiting = Waiting}) ->
    ok = command(0, drain, State),
    {noreply, order(suspend, State#sidecar{waiting = [From | Waiting]})};
handle_call({tell, Drain}, _From, State = #sidecar{streams = Streams, told = Told}) ->
    ok = lists:foreach(fun(Stream) -> send(Streams, Stream, {outrider, drain, Drain}) end, maps:keys(Told)),
    {reply, maps:values(Streams), State#sidecar{drain = Drain}};
handle_call({max_connections, _} = Order, _From, State) ->
    ok = command(0, Order, State),
    {reply, ok, State};
handle_call(info, _From, State) ->
    #sidecar{number = Number, hello = Hello, streams = Streams, requests = Requests, accepted = Accepted} = State,
    Info = maps:with([vsn, os_pid], Hello),
    {reply, Info#{
        number => Number,
        all_connections => map_size(Streams),
        active_connections => map_size(Requests),
        accepted => Accepted
    }, State};
handle_call(_Request, _From, State) ->
    {reply, {error, ?MODULE}, State}.

-spec handle_cast(term(), #sidecar{}) -> {noreply, #sidecar{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #sidecar{}) -> {noreply, #sidecar{}} | {stop, term(), #sidecar{}}.
handle_info({Port, {data, Packet}}, State = #sidecar{port = Port, streams = Streams}) ->
    try
        {noreply, dispatch(outrider_protocol:decode(Packet), Port, Streams, State)}
    catch
        error:Reason:Stacktrace -> {stop, outrider_discreet:error(Reason, Stacktrace), State}
    end;
handle_info({{stream, Stream}, _Monitor, process, _Pid, Reason}, State) ->
    {noreply, stream_down(Stream, Reason, State)};
handle_info({upgraded, Stream, IsTold}, State = #sidecar{requests = Requests}) ->
    {noreply, upgraded(IsTold, Stream, State#sidecar{requests = maps:remove(Stream, Requests)})};
handle_info({over, Stream}, State) ->
    {noreply, stream_down(Stream, normal, State)};
handle_info({Port, {exit_status, Status}}, State = #sidecar{ref = Ref, port = Port}) ->
    Reason = {sidecar_exit, Status},
    TransOpts = outrider_registry:transport_options(Ref),
    ranch:log(error, "Outrider listener ~p has lost its sidecar for reason ~0p (~s)~n",
        [Ref, Reason, outrider_launch:describe(Reason)], outrider_options:logger(TransOpts)),
    {stop, Reason, State};
handle_info({'EXIT', Port, Reason}, State = #sidecar{port = Port}) ->
    {stop, {sidecar_port, Reason}, State};
handle_info({'DOWN', _, port, Port, Reason}, State = #sidecar{port = Port}) ->
    {stop, {sidecar_port, Reason}, State};
%% The watchdog has killed the sidecar; or it, or the collector, has died.
handle_info({'EXIT', Pid, Reason}, State) when is_pid(Pid), Reason =/= normal ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% An orderly stop: nobody can connect any more, the streams are told as by an exit signal from their parent (a message, so
%% that handlers that do not trap exits get their terminate/3, too) and have the shutdown time; then the port closes, which
%% sends the sidecar away.
-spec terminate(term(), #sidecar{}) -> ok.
terminate(shutdown, State = #sidecar{port = Port, streams = Streams, shutdown = Shutdown, context = Context}) ->
    ok = command(0, suspend, State),
    Exit = {'EXIT', outrider_stream:parent(Context), shutdown},
    _ = [Pid ! Exit || Pid <- maps:values(Streams)],
    Timer =
        case Shutdown of
            infinity -> undefined;
            brutal_kill -> erlang:start_timer(0, self(), kill);
            Ms -> erlang:start_timer(Ms, self(), kill)
        end,
    ok = leave(Timer, State#sidecar{order = leave}),
    ok = outrider_collector:flush(?LEAVE_MS, State#sidecar.collector),
    outrider_launch:close(Port);
terminate(_Reason, #sidecar{port = Port}) ->
    ok = outrider_launch:close(Port),
    %% A crash report shows the mailbox.
    outrider_discreet:forget(Port).

%% What a crash report may show: counts, no requests and no payloads.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun
            (state, State = #sidecar{streams = Streams, requests = Requests}) ->
                State#sidecar{streams = #{map_size(Streams) => self()}, requests = #{map_size(Requests) => []}};
            (message, {Port, {data, Packet}}) when is_binary(Packet) ->
                {Port, {data, byte_size(Packet)}};
            (log, _) ->
                [];
            (_, Value) ->
                Value
        end,
        Status
    ).

%% The hot path.
dispatch([], _Port, Streams, State) ->
    State#sidecar{streams = Streams};
dispatch([{Stream, {request, Req}} | Events], Port, Streams, State) ->
    #sidecar{context = Context, requests = Requests, accepted = Accepted} = State,
    {Pid, _} = proc_lib:spawn_opt(outrider_stream, start, [Context, Stream, Req], [{monitor, [{tag, {stream, Stream}}]}]),
    dispatch(Events, Port, Streams#{Stream => Pid}, State#sidecar{requests = Requests#{Stream => []}, accepted = Accepted + 1});
dispatch([{0, Event} | Events], Port, Streams, State) ->
    dispatch(Events, Port, Streams, sidecar_event(Event, State));
dispatch([{Stream, First}, {Stream, Second} | Events0], Port, Streams, State) when ?IS_FRAME(First), ?IS_FRAME(Second) ->
    %% Frames that were read together arrive together: no message of the handler to itself can come between them.
    {Frames, Events} = frames(Stream, Events0, [Second, First]),
    send(Streams, Stream, {Port, Frames}),
    dispatch(Events, Port, Streams, State);
dispatch([{Stream, Event} | Events], Port, Streams, State) ->
    send(Streams, Stream, {Port, Event}),
    dispatch(Events, Port, Streams, State).

%% An event of a stream that is over finds no process: it crossed the stream's end on its way.
send(Streams, Stream, Message) ->
    case Streams of
        #{Stream := Pid} ->
            Pid ! Message,
            ok;
        #{} ->
            ok
    end.

frames(Stream, [{Stream, Frame} | Events], Frames) when ?IS_FRAME(Frame) ->
    frames(Stream, Events, [Frame | Frames]);
frames(_, Events, Frames) ->
    {lists:reverse(Frames), Events}.

sidecar_event({log, Level, Target, Text}, State = #sidecar{ref = Ref}) ->
    logger:log(Level, "~ts", [Text], #{domain => [outrider], target => Target, listener => Ref}),
    State;
%% For the watchdog, which has seen it come.
sidecar_event(pong, State) ->
    State;
sidecar_event({listening, Listening}, State = #sidecar{order = leave}) ->
    State#sidecar{listening = Listening};
sidecar_event({listening, Listening}, State) ->
    listening(Listening, State#sidecar{order = none});
sidecar_event({listen_error, _Address, Posix}, State) ->
    answer({error, Posix}, State#sidecar{order = none}).

listening([], State) ->
    follow_registry(State#sidecar{listening = []});
listening(Listening = [Address | _], State = #sidecar{ref = Ref}) ->
    ok = outrider_registry:set_address(Ref, Address),
    follow_registry(State#sidecar{listening = Listening, drain = none}).

%% Orders what is missing, one thing at a time, so that an answer is that to the last order. What the registry says may
%% change meanwhile.
follow_registry(State = #sidecar{order = none, ref = Ref, listening = Listening}) ->
    case {outrider_registry:status(Ref), Listening} of
        {suspended, [_ | _]} -> order(suspend, State);
        {running, []} -> order(resume, State);
        _ -> answer(ok, State)
    end;
follow_registry(State) ->
    State.

order(Order, State) ->
    ok = command(0, Order, State),
    State#sidecar{order = Order}.

answer(Result, State = #sidecar{waiting = Waiting}) ->
    _ = [gen_server:reply(From, Result) || From <- Waiting],
    State#sidecar{waiting = []}.

%% A stream that ended by itself has told the sidecar to end it, too, and exits normally or says that it is over. Any
%% other left its client's connection open.
stream_down(Stream, Reason, State = #sidecar{streams = Streams, requests = Requests, told = Told}) ->
    _ = Reason =/= normal andalso is_map_key(Stream, Streams) andalso command(Stream, abort, State),
    State#sidecar{
        streams = maps:remove(Stream, Streams), requests = maps:remove(Stream, Requests), told = maps:remove(Stream, Told)
    }.

upgraded(false, _, State) ->
    State;
upgraded(true, Stream, State = #sidecar{streams = Streams, told = Told, drain = Drain}) ->
    _ = Drain =/= none andalso send(Streams, Stream, {outrider, drain, Drain}),
    State#sidecar{told = Told#{Stream => []}}.

%% The rest of the streams' lives: like handle_info/2, but nothing new is begun.
leave(_Timer, #sidecar{streams = Streams, listening = []}) when map_size(Streams) =:= 0 ->
    ok;
leave(Timer, State = #sidecar{port = Port, streams = Streams, context = Context}) ->
    receive
        {Port, {data, Packet}} ->
            {New, Events} = lists:partition(fun is_request/1, outrider_protocol:decode(Packet)),
            _ = [command(Stream, abort, State) || {Stream, _} <- New],
            leave(Timer, dispatch(Events, Port, Streams, State));
        {{stream, Stream}, _, process, _, Reason} ->
            leave(Timer, stream_down(Stream, Reason, State));
        {over, Stream} ->
            leave(Timer, stream_down(Stream, normal, State));
        {Port, {exit_status, _}} ->
            ok;
        {timeout, Timer, kill} ->
            ok = outrider_streams_sup:kill(outrider_stream:parent(Context), maps:values(Streams)),
            leave(undefined, State#sidecar{streams = #{}})
    after patience(Streams) ->
        ok
    end.

%% With no stream left only the answer to suspend is missing; a sidecar that does not give it hangs.
patience(Streams) when map_size(Streams) =:= 0 -> ?LEAVE_MS;
patience(_) -> infinity.

is_request({_, {request, _}}) -> true;
is_request(_) -> false.

%% Without waiting for a port that is busy.
command(Stream, Command, #sidecar{collector = Collector}) ->
    _ = outrider_collector:hand_over(outrider_protocol:bundle(Stream, [Command]), Collector),
    ok.

%% As Ranch's acceptors name it.
reason(Ref, {listen_error, _, Posix}) -> {listen_error, Ref, Posix};
reason(_, Reason) -> Reason.
