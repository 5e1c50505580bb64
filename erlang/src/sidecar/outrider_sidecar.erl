%%% The owner of one sidecar: has its OS process started as a port, and keeps it; the sidecar's life is this process's.
%%%
%%% A gen_server. What comes from the port it gives to its parts: a packet is a list of events of one turn of the sidecar's
%%% loop, decoded once and handed in one pass to the processes of the streams (outrider_streams); whether the sidecar listens
%%% is outrider_listening's, and its orderly end outrider_farewell's. Streams write to the port themselves, or by
%%% outrider_collector, so nothing that goes to a client passes here.
%%%
%%% A sidecar that cannot be started ends its listener's start. Later, when the listener has been up, whatever the next one
%%% needs is waited for: this process tries again, with growing pauses.
%%%
%%% If this process or the port ends, the other follows. The streams are not linked to it; they monitor the port.
-module(outrider_sidecar).
-behaviour(gen_server).

-export([start_link/2, info/1, follow/1, drain/1, tell/2, set_max_connections/2, ask_sidecars/2, kick/3, untrace/3]).
-export([ask_metrics/1, answers/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

%% How long a sidecar may take to answer whoever asks something of all of them.
-define(ANSWER_MS, 5000).
%% So many WebSockets are closed by one order.
-define(KICKED_AT_ONCE, 1000).
%% How long the address may still be held by the sidecar before this one without that being worth a warning.
-define(REBIND_MS, 5000).
%% Processes that tell stream handlers of refused requests, which may take any time for it.
-define(MOST_TELLING, 100).
%% How long nothing is said again of requests that are refused for the same reason, and of the same limit.
-define(REFUSED_PAUSE_MS, 10000).
-define(LIMIT_PAUSE_MS, 60000).

-record(sidecar, {
    ref :: ranch:ref(),
    %% Which of the listener's sidecars this is.
    number :: pos_integer(),
    hello :: #{atom() => term()},
    port :: port(),
    context :: outrider_context:context(),
    listening :: outrider_listening:listening(),
    streams :: outrider_streams:streams(),
    %% Requests that the sidecar has refused, and processes that tell stream handlers of some.
    refused = 0 :: non_neg_integer(),
    telling = 0 :: non_neg_integer(),
    %% What the log has had lines of.
    seldom = outrider_seldom:new() :: outrider_seldom:seldom(),
    questions = outrider_questions:new() :: outrider_questions:questions()
}).

%% Has not been started yet.
-record(starting, {
    ref :: ranch:ref(),
    number :: pos_integer(),
    since = erlang:monotonic_time() :: integer(),
    patience = outrider_patience:new() :: outrider_patience:patience()
}).

-spec start_link(ranch:ref(), pos_integer()) -> {ok, pid()} | {error, term()}.
start_link(Ref, Number) ->
    gen_server:start_link(?MODULE, {Ref, Number}, [{spawn_opt, [{message_queue_data, off_heap}]}]).

%% The functions below ask all of a listener's sidecars at once. One that dies meanwhile, or has not started yet, has nothing
%% to answer: the next one reads the registry when it starts.

-spec info([pid()]) -> [#{atom() => term()}].
info(Pids) ->
    lists:sort(fun(#{number := A}, #{number := B}) -> A =< B end, [Info || {reply, Info = #{}} <- ask(Pids, info)]).

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
-spec tell([pid()], Drain :: map()) -> [pid()].
tell(Pids, Drain) ->
    lists:append([Streams || {reply, Streams} <- ask(Pids, {tell, Drain}), is_list(Streams)]).

-spec set_max_connections([pid()], ranch:max_conns()) -> ok.
set_max_connections(Pids, Max) ->
    _ = ask(Pids, {max_connections, Max}),
    ok.

%% What each of them answers; nothing where it ends meanwhile, or takes too long.
-spec ask_sidecars([pid()], outrider_questions:question()) -> [term()].
ask_sidecars(Pids, Question) ->
    [Answer || {reply, Answer} <- ask(Pids, Question), Answer =/= starting].

%% Close WebSockets, each named by its sidecar and its number there. Says how many were open.
-spec kick([{pid(), pos_integer()}], Code :: 1000..4999, Text :: binary()) -> non_neg_integer().
kick(Ids, Code, Text) ->
    lists:sum([
        kick(Pid, [Stream || {P, Stream} <- Ids, P =:= Pid], Code, Text)
     || Pid <- lists:usort([Pid || {Pid, _} <- Ids])
    ]).

kick(_, [], _, _) ->
    0;
kick(Pid, Streams, Code, Text) ->
    {These, Others} = lists:split(min(length(Streams), ?KICKED_AT_ONCE), Streams),
    lists:sum(ask_sidecars([Pid], {kick, These, Code, Text})) + kick(Pid, Others, Code, Text).

%% Ask each of them for all that it has counted, and do not wait.
-spec ask_metrics([pid()]) -> [gen_server:request_id()].
ask_metrics(Pids) ->
    [gen_server:send_request(Pid, metrics) || Pid <- Pids].

%% What has come until then; nothing of one that has not answered.
-spec answers([gen_server:request_id()], {abs, integer()}) -> [{Number :: pos_integer(), Answer}] when
    Answer :: starting | no_answer | {ok, OsPid :: pos_integer(), #{atom() => term()}}.
answers(Requests, Deadline) ->
    [Answer || Id <- Requests, {reply, Answer} <- [gen_server:receive_response(Id, Deadline)]].

%% End a trace of that number.
-spec untrace(pid(), pos_integer(), pos_integer()) -> ok.
untrace(Pid, Number, Stream) ->
    gen_server:cast(Pid, {untrace, Number, Stream}).

ask(Pids, Request) ->
    Requests = [gen_server:send_request(Pid, Request) || Pid <- Pids],
    Deadline = {abs, erlang:monotonic_time(millisecond) + ?ANSWER_MS},
    [gen_server:receive_response(Id, Deadline) || Id <- Requests].

outcome({reply, starting}) -> ok;
outcome({reply, Result}) -> Result;
outcome({error, _}) -> ok;
outcome(timeout) -> {error, timeout}.

-spec init({ranch:ref(), pos_integer()}) -> {ok, #sidecar{}} | {ok, #starting{}, {continue, start}} | {stop, term()}.
init({Ref, Number}) ->
    process_flag(trap_exit, true),
    _ = outrider_protocol:atoms(),
    case outrider_registry:has_started(Ref) of
        true ->
            {ok, #starting{ref = Ref, number = Number}, {continue, start}};
        false ->
            case start(first, Ref, Number) of
                {ok, _} = Started ->
                    Started;
                {error, Reason} ->
                    ok = outrider_log:not_started(Ref, Reason),
                    {stop, reason(Ref, Reason)}
            end
    end.

-spec handle_continue(start, #starting{}) -> {noreply, #starting{} | #sidecar{}}.
handle_continue(start, State = #starting{ref = Ref, number = Number, since = Since, patience = Patience0}) ->
    case start(again, Ref, Number) of
        {ok, Sidecar} ->
            ok = outrider_registry:restarted(Ref, Number),
            Away = #{duration => erlang:monotonic_time() - Since},
            ok = outrider_telemetry:execute([sidecar, back], Away, #{listener => Ref, sidecar => Number}),
            {noreply, Sidecar};
        {error, Reason} ->
            Now = erlang:monotonic_time(millisecond),
            {Pause, IsToWarn, Patience} = outrider_patience:failed(Now, grace(Reason), Patience0),
            _ = IsToWarn andalso outrider_log:not_started_again(Ref, Reason),
            _ = erlang:send_after(Pause, self(), start),
            {noreply, State#starting{patience = Patience}}
    end.

grace({listen_error, _, eaddrinuse}) -> ?REBIND_MS;
grace(_) -> 0.

start(When, Ref, Number) ->
    case outrider_launch:start(When, Ref) of
        {ok, Port, Hello = #{listening := Listening}} ->
            TransOpts = outrider_registry:transport_options(Ref),
            %% The link says when it fails; this, also when another process or a cut link ends it.
            _ = monitor(port, Port),
            ok = outrider_watchdog:start_link(Ref, Port, TransOpts),
            Collector = outrider_collector:start_link(Port),
            ok = outrider_registry:set_collector(Ref, Number, Collector),
            ok = outrider_nodes:join(Ref),
            Context = outrider_context:new(Ref, Number, Port, Collector, TransOpts),
            {ok, #sidecar{
                ref = Ref,
                number = Number,
                hello = Hello,
                port = Port,
                context = Context,
                listening = outrider_listening:new(Ref, Collector, Listening),
                streams = outrider_streams:new(Context)
            }};
        {error, _} = Error ->
            Error
    end.

-spec handle_call(term(), gen_server:from(), State) -> {reply, term(), State} | {noreply, State} when
    State :: #starting{} | #sidecar{}.
handle_call(metrics, _From, State = #starting{number = Number}) ->
    {reply, {Number, starting}, State};
handle_call(_Request, _From, State = #starting{}) ->
    {reply, starting, State};
handle_call(follow, From, State = #sidecar{listening = Listening}) ->
    {noreply, State#sidecar{listening = outrider_listening:follow(From, Listening)}};
handle_call(drain, From, State = #sidecar{listening = Listening}) ->
    ok = order(drain, State),
    {noreply, State#sidecar{listening = outrider_listening:suspend(From, Listening)}};
handle_call({tell, Drain}, _From, State = #sidecar{streams = Streams}) ->
    {reply, outrider_streams:pids(Streams), State#sidecar{streams = outrider_streams:tell(Drain, Streams)}};
handle_call({max_connections, _} = Order, _From, State) ->
    {reply, order(Order, State), State};
handle_call(info, _From, State = #sidecar{number = Number, hello = Hello, streams = Streams, refused = Refused}) ->
    Info = (maps:with([vsn, os_pid], Hello))#{number => Number, refused => Refused},
    {reply, maps:merge(Info, outrider_streams:count(Streams)), State};
handle_call(Question, From, State = #sidecar{number = Number, questions = Questions0}) ->
    case outrider_questions:ask(Question, From, Questions0) of
        {order, Order, Questions} ->
            ok = order(Order, State),
            {noreply, State#sidecar{questions = Questions}};
        full when Question =:= metrics ->
            {reply, {Number, no_answer}, State};
        full when element(1, Question) =:= wake ->
            {reply, {error, busy}, State};
        full ->
            {reply, starting, State};
        busy ->
            {reply, {error, busy}, State};
        unknown ->
            {reply, {error, ?MODULE}, State}
    end.

-spec handle_cast(term(), State) -> {noreply, State} when State :: #starting{} | #sidecar{}.
handle_cast({untrace, Number, Stream}, State = #sidecar{}) ->
    ok = order({untrace, Number, Stream}, State),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #starting{} | #sidecar{}) -> {noreply, #starting{} | #sidecar{}} | {stop, term(), #sidecar{}}.
handle_info(start, State = #starting{}) ->
    handle_continue(start, State);
handle_info(_Message, State = #starting{}) ->
    {noreply, State};
handle_info({Port, {data, Packet}}, State = #sidecar{port = Port, streams = Streams0}) ->
    try
        {Own, Streams} = outrider_streams:dispatch(outrider_protocol:decode(Packet), Streams0),
        {noreply, lists:foldl(fun own/2, State#sidecar{streams = Streams}, Own)}
    catch
        error:Reason:Stacktrace -> {stop, outrider_discreet:error(Reason, Stacktrace), State}
    end;
handle_info({Stream, _Monitor, process, Pid, Reason}, State = #sidecar{streams = Streams}) when is_integer(Stream) ->
    {noreply, State#sidecar{streams = outrider_streams:down(Stream, Pid, Reason, Streams)}};
handle_info({refused, _Monitor, process, _Pid, _Reason}, State = #sidecar{telling = Telling}) ->
    {noreply, State#sidecar{telling = Telling - 1}};
handle_info({upgraded, Stream, IsTold}, State = #sidecar{streams = Streams}) ->
    {noreply, State#sidecar{streams = outrider_streams:upgraded(Stream, IsTold, Streams)}};
handle_info({over, Stream}, State = #sidecar{streams = Streams}) ->
    {noreply, State#sidecar{streams = outrider_streams:over(Stream, Streams)}};
handle_info({kept, Stream, First, Pid}, State = #sidecar{streams = Streams}) ->
    {noreply, State#sidecar{streams = outrider_streams:kept(Stream, First, Pid, Streams)}};
handle_info(sweep, State = #sidecar{streams = Streams}) ->
    {noreply, State#sidecar{streams = outrider_streams:sweep(Streams)}};
handle_info({Port, {exit_status, Status}}, State = #sidecar{port = Port}) ->
    lost({sidecar_exit, Status}, State);
%% With epipe its end of the pipe is closed, and nobody has said with what status it ended.
handle_info({'EXIT', Port, Reason}, State = #sidecar{port = Port}) ->
    lost({sidecar_port, Reason}, State);
handle_info({'DOWN', _, port, Port, Reason}, State = #sidecar{port = Port}) ->
    lost({sidecar_port, Reason}, State);
%% The watchdog has killed the sidecar; or it, or the collector, has died.
handle_info({'EXIT', Pid, Reason}, State) when is_pid(Pid), Reason =/= normal ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% A shutdown: a crash report would show the mailbox, which has a message for the end of each stream, and keep the next sidecar waiting.
lost(Reason, State = #sidecar{ref = Ref}) ->
    ok = outrider_log:lost(Ref, Reason),
    {stop, {shutdown, Reason}, State}.

%% The events of the sidecar itself.
own({log, Level, Target, Text}, State = #sidecar{ref = Ref}) ->
    ok = outrider_log:said(Ref, Level, Target, Text),
    State;
own({refused, Count, Status, Known}, State = #sidecar{refused = Refused}) ->
    tell_handlers(Status, Known, log_refused(Count, Status, Known, State#sidecar{refused = Refused + Count}));
own({limits, Reached}, State) ->
    maps:fold(fun limit/3, State, Reached);
own({host, Name}, State = #sidecar{ref = Ref, context = #{collector := Collector}}) ->
    Answer = fun(Answer) -> outrider_collector:order(0, {host, Name, Answer}, Collector) end,
    ok = outrider_certificates:host(Ref, Name, Answer),
    State;
%% For the watchdog, which has seen it come four times in its period: an occasion for what is to be done now and then.
own(pong, State = #sidecar{streams = Streams}) ->
    State#sidecar{streams = outrider_streams:rest(Streams)};
%% It listens again: it has not been stopped after a drain.
own({listening, [_ | _]} = Event, State = #sidecar{listening = Listening, streams = Streams}) ->
    State#sidecar{listening = outrider_listening:event(Event, Listening), streams = outrider_streams:untell(Streams)};
own(Event, State = #sidecar{number = Number, hello = #{os_pid := OsPid}, listening = Listening, streams = Streams, questions = Questions0}) ->
    case outrider_questions:event(Event, #{number => Number, os_pid => OsPid, streams => Streams}, Questions0) of
        {ok, Questions} -> State#sidecar{questions = Questions};
        none -> State#sidecar{listening = outrider_listening:event(Event, Listening)}
    end.

log_refused(Count, Status, Known, State = #sidecar{ref = Ref, number = Number, seldom = Seldom0}) ->
    case outrider_seldom:happened({refused, Status, maps:get(limit, Known)}, Count, now_ms(), ?REFUSED_PAUSE_MS, Seldom0) of
        {say, All, Seldom} ->
            ok = outrider_log:refused(Ref, Number, Status, Known, All - 1),
            State#sidecar{seldom = Seldom};
        {quiet, Seldom} ->
            State#sidecar{seldom = Seldom}
    end.

limit(Limit, Count, State = #sidecar{ref = Ref, number = Number, seldom = Seldom0}) ->
    ok = outrider_telemetry:execute([limit, reached], #{count => Count}, #{listener => Ref, sidecar => Number, limit => Limit}),
    Seldom =
        case outrider_log:is_told(Limit) of
            true ->
                case outrider_seldom:happened(Limit, Count, now_ms(), ?LIMIT_PAUSE_MS, Seldom0) of
                    {say, All, Said} ->
                        ok = outrider_log:limit(Ref, Number, Limit, All),
                        Said;
                    {quiet, Unsaid} ->
                        Unsaid
                end;
            false ->
                Seldom0
        end,
    State#sidecar{seldom = Seldom}.

now_ms() ->
    erlang:monotonic_time(millisecond).

tell_handlers(_, _, State = #sidecar{telling = ?MOST_TELLING}) ->
    State;
tell_handlers(Status, Known, State = #sidecar{ref = Ref, context = #{parent := Parent}, telling = Telling}) ->
    Arguments = [Ref, Parent, Status, Known],
    {_, _} = proc_lib:spawn_opt(outrider_refused, start, Arguments, [{monitor, [{tag, refused}]}]),
    State#sidecar{telling = Telling + 1}.

-spec terminate(term(), #starting{} | #sidecar{}) -> ok.
terminate(_Reason, #starting{}) ->
    ok;
terminate(shutdown, #sidecar{context = Context, listening = Listening, streams = Streams}) ->
    outrider_farewell:say(Context, Listening, Streams);
terminate({shutdown, Reason}, State) ->
    terminate(Reason, State);
terminate(Reason, #sidecar{port = Port, ref = Ref, number = Number, streams = Streams}) ->
    #{all_connections := Clients} = outrider_streams:count(Streams),
    Metadata = #{listener => Ref, sidecar => Number, reason => Reason},
    ok = outrider_telemetry:execute([sidecar, lost], #{streams => Clients}, Metadata),
    ok = outrider_launch:close(Port),
    %% A crash report shows the mailbox.
    outrider_discreet:forget(Port).

%% What a crash report may show: counts, no requests and no payloads.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun
            (state, State = #sidecar{streams = Streams}) ->
                setelement(#sidecar.streams, State, outrider_streams:brief(Streams));
            (message, {Port, {data, Packet}}) when is_binary(Packet) ->
                {Port, {data, byte_size(Packet)}};
            (log, _) ->
                [];
            (_, Value) ->
                Value
        end,
        Status
    ).

order(Order, #sidecar{context = #{collector := Collector}}) ->
    outrider_collector:order(0, Order, Collector).

%% As Ranch's acceptors name it.
reason(Ref, {listen_error, _, Posix}) -> {listen_error, Ref, Posix};
reason(Ref, {options, _} = Reason) -> {listen_error, Ref, Reason};
reason(_, Reason) -> Reason.
