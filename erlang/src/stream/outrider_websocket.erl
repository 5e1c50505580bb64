%%% The process of a stream after its upgrade: runs the handler's websocket callbacks.
%%%
%%% It is the process that was the stream's before (Req's pid), with nothing kept of that time. Frames come from the
%%% sidecar as {Port, Frame} or {Port, [Frame]}; what the callbacks return goes to the port. The sidecar frames,
%%% masks, compresses, checks, answers pings and watches the idle timeout; here are the order of the callbacks, the
%%% commands' effect on the process, the two windows, and the end, with terminate/3 exactly once.
%%%
%%% Every message that is not the sidecar's, the parent's or a system message is the handler's: websocket_info/2 gets it.
-module(outrider_websocket).

-export([start/7, loop/2]).
-export([system_continue/3, system_terminate/4, system_code_change/4]).

%% What an event costs of its window beside its payload; docs/port-protocol.md, "Credit".
-define(COST, 64).
%% How long a process waits for more before it collects what large messages have left behind.
-define(SETTLE_MS, 1000).

-record(ws, {
    context :: outrider_context:context(),
    number :: pos_integer(),
    monitor :: reference(),
    writer :: outrider_writer:writer(),
    %% Of a handler that has asked for it.
    backlog :: undefined | outrider_backlog:backlog(),
    handler :: module(),
    req :: term(),
    %% Frames that were received and not yet handled, in order; then those that came while not active, last first.
    inbox = [] :: [frame()],
    parked = [] :: [[frame()]],
    %% The pieces of a large message so far, last first.
    pieces = [] :: [binary()],
    %% Bytes that were handled, and not yet credited.
    handled = 0 :: non_neg_integer(),
    active = true :: boolean(),
    %% What to do before the next idle wait. At first: what the request left behind goes at once, not when some later
    %% message grows the heap. After a message in pieces (more than 64 KiB): collect if nothing comes for a while, since what
    %% refers to it is small, and would keep it as long as the process idles.
    rest = collect :: nothing | collect | settle | hibernate,
    shutdown_reason = normal :: term()
}).

-type frame() :: ping | pong | {text | binary | part | ping | pong, binary()} | {closed, term()}.

-spec start(
    outrider_context:context(), Stream :: pos_integer(), PortMonitor :: reference(), outrider_writer:writer(),
    undefined | outrider_backlog:backlog(), IsTold :: boolean(), outrider_upgrade:init()
) -> no_return().
start(Context = #{ref := Ref, parent := Parent}, Number, Monitor, Writer, Backlog, IsTold, {Handler, HandlerState, Req}) ->
    ok = outrider_context:upgraded(Number, IsTold, Context),
    ok = outrider_context:label(label(Ref, Req)),
    %% From here on others may know this process: what they send it by way of the sidecar must find the WebSocket.
    ok = outrider_writer:settle(Writer),
    _ = Backlog =:= undefined orelse outrider_backlog:note(Writer, Backlog),
    WS = #ws{
        context = Context,
        number = Number,
        monitor = Monitor,
        writer = outrider_writer:set_parent(Parent, Writer),
        backlog = Backlog,
        handler = Handler,
        req = Req
    },
    ok = outrider_telemetry:websocket_start(metadata(WS)),
    case erlang:function_exported(Handler, websocket_init, 1) of
        true -> call(websocket_init, undefined, WS, HandlerState);
        false -> next(WS, HandlerState)
    end.

%% Cowboy's, and whose it is: the terms are those of the request that terminate/3 gets.
label(Ref, #{peer := Peer, path := Path}) -> {cowboy_websocket, Ref, Peer, Path};
label(Ref, _) -> {cowboy_websocket, Ref}.

%% Between two callbacks: first what was received before, then the mailbox. While the client takes nothing, neither.
next(WS = #ws{writer = Writer}, HandlerState) ->
    case outrider_writer:is_full(Writer) of
        false -> next_frame(WS, HandlerState);
        true -> written(outrider_writer:wait(Writer), WS, HandlerState)
    end.

next_frame(WS = #ws{handled = Handled, context = #{credit_step := Step}}, HandlerState) when Handled >= Step ->
    next_frame(give_credit(WS), HandlerState);
next_frame(WS = #ws{inbox = [Frame | Inbox], active = true}, HandlerState) ->
    frame(Frame, WS#ws{inbox = Inbox}, HandlerState);
next_frame(WS = #ws{parked = [_ | _] = Parked, active = true}, HandlerState) ->
    next_frame(WS#ws{inbox = lists:append(lists:reverse(Parked)), parked = []}, HandlerState);
next_frame(WS = #ws{rest = nothing}, HandlerState) ->
    loop(WS, HandlerState);
next_frame(WS = #ws{rest = settle}, HandlerState) ->
    loop(WS, HandlerState);
next_frame(WS = #ws{rest = Rest}, HandlerState) ->
    case {Rest, process_info(self(), message_queue_len)} of
        {hibernate, {_, 0}} ->
            proc_lib:hibernate(?MODULE, loop, [WS#ws{rest = nothing}, HandlerState]);
        {collect, {_, 0}} ->
            collect(WS, HandlerState);
        _ ->
            loop(WS, HandlerState)
    end.

collect(WS, HandlerState) ->
    true = erlang:garbage_collect(),
    loop(WS#ws{rest = nothing}, HandlerState).

settle(WS = #ws{rest = nothing}) -> WS#ws{rest = settle};
settle(WS) -> WS.

-spec loop(#ws{}, term()) -> no_return().
loop(WS = #ws{context = #{port := Port, parent := Parent}, monitor = Monitor, rest = Rest}, HandlerState) ->
    receive
        {Port, Event} ->
            event(Event, WS, HandlerState);
        {'DOWN', Monitor, port, _, _} ->
            terminate({error, closed}, WS, HandlerState);
        {'EXIT', Parent, Reason} ->
            stop(Reason, WS, HandlerState);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], {WS, HandlerState, sidecar});
        {'$gen_call', From, Call} ->
            ok = cowboy_children:handle_supervisor_call(Call, From, [], ?MODULE),
            next(WS, HandlerState);
        Message ->
            call(websocket_info, Message, WS, HandlerState)
    after patience(Rest) ->
        collect(WS, HandlerState)
    end.

patience(settle) -> ?SETTLE_MS;
patience(_) -> infinity.

event({credit, Bytes}, WS = #ws{writer = Writer}, HandlerState) ->
    written({ok, outrider_writer:credit(Bytes, Writer)}, WS, HandlerState);
%% What others sent to many, and this client did not get.
event({dropped, Frames}, WS = #ws{writer = Writer, backlog = Backlog}, HandlerState) ->
    written({ok, Writer}, WS#ws{backlog = outrider_backlog:dropped(Frames, Backlog)}, HandlerState);
event({stats, _, _, _} = Stats, WS, HandlerState) ->
    ok = outrider_telemetry:keep(Stats),
    next(WS, HandlerState);
event({not_subscribed, _, _} = Refused, WS, HandlerState) ->
    call(websocket_info, {outrider, Refused}, WS, HandlerState);
%% The request's body; it is over.
event({data, _, _}, WS, HandlerState) ->
    next(WS, HandlerState);
%% The request's end, which has crossed the order to accept it.
event({closed, {Kind, _}}, WS, HandlerState) when Kind =:= reset; Kind =:= stream_error; Kind =:= connection_error ->
    terminate({error, closed}, WS, HandlerState);
event(Frame, WS = #ws{active = true, inbox = [], parked = []}, HandlerState) when not is_list(Frame) ->
    frame(Frame, WS, HandlerState);
event(Frames, WS = #ws{active = true, inbox = [], parked = []}, HandlerState) ->
    next(WS#ws{inbox = Frames}, HandlerState);
%% Not active. The client's frames wait; its loss, its silence and an operator's order do not.
event({closed, End} = Closed, WS, HandlerState) when End =:= timeout; End =:= stop ->
    frame(Closed, WS, HandlerState);
event({closed, {error, Reason}} = Closed, WS, HandlerState) when
    Reason =/= badframe, Reason =/= badencoding, Reason =/= badsize
->
    frame(Closed, WS, HandlerState);
event(Frames, WS = #ws{parked = Parked}, HandlerState) when is_list(Frames) ->
    next(WS#ws{parked = [Frames | Parked]}, HandlerState);
event(Frame, WS = #ws{parked = Parked}, HandlerState) ->
    next(WS#ws{parked = [[Frame] | Parked]}, HandlerState).

frame({part, Piece}, WS = #ws{pieces = Pieces}, HandlerState) ->
    next(handled(Piece, WS#ws{pieces = [Piece | Pieces]}), HandlerState);
frame({Type, Payload} = Frame, WS = #ws{pieces = []}, HandlerState) when Type =/= closed ->
    call(websocket_handle, Frame, handled(Payload, WS), HandlerState);
frame({Type, Last}, WS = #ws{pieces = Pieces}, HandlerState) when Type =:= text; Type =:= binary ->
    Message = iolist_to_binary(lists:reverse(Pieces, [Last])),
    call(websocket_handle, {Type, Message}, settle(handled(Last, WS#ws{pieces = []})), HandlerState);
frame({closed, {error, Reason} = Error}, WS, HandlerState) when
    Reason =/= badframe, Reason =/= badencoding, Reason =/= badsize
->
    terminate(Error, WS, HandlerState);
%% An operator has closed it.
frame({closed, stop}, WS, HandlerState) ->
    terminate(stop, WS, HandlerState);
frame({closed, Reason}, WS, HandlerState) ->
    _ = last(finish, WS),
    terminate(Reason, WS, HandlerState);
%% A control frame between the pieces of a message, or one without payload.
frame({_, Payload} = Frame, WS, HandlerState) ->
    call(websocket_handle, Frame, handled(Payload, WS), HandlerState);
frame(Frame, WS, HandlerState) ->
    call(websocket_handle, Frame, handled(<<>>, WS), HandlerState).

%% Counted before the callback, credited after it.
handled(Payload, WS = #ws{handled = Handled}) ->
    WS#ws{handled = Handled + byte_size(Payload) + ?COST}.

give_credit(WS = #ws{handled = Handled}) ->
    _ = last({credit, Handled}, WS),
    WS#ws{handled = 0}.

%% The callbacks.

call(Callback, Message, WS = #ws{handler = Handler}, HandlerState) ->
    try
        case Callback of
            websocket_init -> Handler:websocket_init(HandlerState);
            websocket_handle -> Handler:websocket_handle(Message, HandlerState);
            websocket_info -> Handler:websocket_info(Message, HandlerState)
        end
    of
        Result -> returned(Result, WS, HandlerState)
    catch
        Class:Reason:Stacktrace -> crash(Class, Reason, Stacktrace, WS, HandlerState)
    end.

returned({Commands, HandlerState}, WS, _) when is_list(Commands) ->
    commands(commands, Commands, WS, HandlerState);
returned({Commands, HandlerState, hibernate}, WS, _) when is_list(Commands) ->
    commands(commands, Commands, WS#ws{rest = hibernate}, HandlerState);
returned({ok, HandlerState}, WS, _) ->
    next(WS, HandlerState);
returned({ok, HandlerState, hibernate}, WS, _) ->
    next(WS#ws{rest = hibernate}, HandlerState);
returned({reply, Frames, HandlerState}, WS, _) ->
    commands(frames, Frames, WS, HandlerState);
returned({reply, Frames, HandlerState, hibernate}, WS, _) ->
    commands(frames, Frames, WS#ws{rest = hibernate}, HandlerState);
returned({stop, HandlerState}, WS, _) ->
    _ = last({close, 1000, <<>>}, WS),
    terminate(stop, WS, HandlerState);
returned(Value, WS, HandlerState) ->
    %% What Cowboy's process exits with.
    try
        error({try_clause, Value})
    catch
        Class:Reason:Stacktrace -> crash(Class, Reason, Stacktrace, WS, HandlerState)
    end.

commands(Kind, Commands, WS = #ws{backlog = undefined}, HandlerState) ->
    write(Kind, Commands, WS, HandlerState);
commands(Kind, Commands, WS = #ws{backlog = Backlog0, writer = Writer0}, HandlerState) ->
    try outrider_backlog:admit(Commands, Writer0, Backlog0) of
        {Admitted, Writer, Backlog} ->
            ok = count_dropped(outrider_backlog:dropped_since(Backlog0, Backlog), WS),
            write(Kind, Admitted, WS#ws{writer = Writer, backlog = Backlog}, HandlerState);
        full ->
            _ = last({cut, 1013}, WS),
            terminate({error, backlog}, WS, HandlerState)
    catch
        Class:Reason:Stacktrace -> crash(Class, Reason, Stacktrace, WS, HandlerState)
    end.

count_dropped(0, _) -> ok;
count_dropped(Frames, #ws{context = #{dropped := Dropped}}) -> counters:add(Dropped, 1, Frames).

write(Kind, Commands, WS = #ws{number = Number, writer = Writer}, HandlerState) ->
    try outrider_frames:Kind(Commands, Number) of
        {more, [_, _ | _] = Bundles, Changes} ->
            Written = outrider_writer:write(Bundles, Writer),
            written(Written, lists:foldl(fun change/2, settle(WS), Changes), HandlerState);
        {more, Bundles, []} ->
            written(outrider_writer:write(Bundles, Writer), WS, HandlerState);
        {more, Bundles, Changes} ->
            written(outrider_writer:write(Bundles, Writer), lists:foldl(fun change/2, WS, Changes), HandlerState);
        {stop, Bundles, Changes} ->
            close(Bundles, lists:foldl(fun change/2, WS, Changes), HandlerState)
    catch
        Class:Reason:Stacktrace -> crash(Class, Reason, Stacktrace, WS, HandlerState)
    end.

change({active, Active}, WS) -> WS#ws{active = Active};
change({shutdown_reason, Reason}, WS) -> WS#ws{shutdown_reason = Reason};
change({publish, Topic, Data}, WS = #ws{context = #{ref := Ref, collector := Collector}}) ->
    ok = outrider_broadcast:elsewhere(Ref, Collector, Topic, self(), Data),
    WS.

-spec written(outrider_writer:result(), #ws{}, term()) -> no_return().
written({ok, Writer}, WS = #ws{backlog = undefined}, HandlerState) ->
    next(WS#ws{writer = Writer}, HandlerState);
written({ok, Writer}, WS = #ws{backlog = Backlog0}, HandlerState) ->
    case outrider_backlog:note(Writer, Backlog0) of
        {ok, Backlog} ->
            next(WS#ws{writer = Writer, backlog = Backlog}, HandlerState);
        {{drained, Info}, Backlog} ->
            call(websocket_info, {outrider, drained, Info}, WS#ws{writer = Writer, backlog = Backlog}, HandlerState)
    end;
written({error, stop}, WS, HandlerState) -> terminate(stop, WS, HandlerState);
written({error, _} = Error, WS, HandlerState) -> terminate(Error, WS, HandlerState);
written({exit, Reason, Writer}, WS, HandlerState) -> stop(Reason, WS#ws{writer = Writer}, HandlerState).

%% The ends.

%% The handler sent a close frame; as in Cowboy whether it could be written makes no difference.
-spec close([{non_neg_integer(), outrider_protocol:bundle()}], #ws{}, term()) -> no_return().
close(Bundles, WS = #ws{writer = Writer}, HandlerState) ->
    case outrider_writer:write(Bundles, Writer) of
        {ok, _} -> ok;
        {error, _} -> ok;
        %% Without an effect if all has been written.
        {exit, _, Behind} -> _ = last({close, 1001, <<>>}, WS#ws{writer = Behind}), ok
    end,
    terminate(stop, WS, HandlerState).

%% The parent ends: the listener stops, or the application. What was written before goes out before the close frame. Or the listener is being drained, and it is this one's turn.
-spec stop(term(), #ws{}, term()) -> no_return().
stop({drain, Code}, WS, HandlerState) ->
    _ = last({close, Code, <<>>}, WS),
    terminate(shutdown, WS, HandlerState);
stop(Reason, WS, HandlerState) ->
    _ = last({close, 1001, <<>>}, WS),
    terminate(Reason, WS, HandlerState).

-spec crash(error | exit | throw, term(), list(), #ws{}, term()) -> no_return().
crash(Class, Reason, Stacktrace, WS = #ws{context = #{port := Port}}, HandlerState) ->
    _ = last({close, 1011, <<>>}, WS),
    handler_terminate({crash, Class, Reason}, WS, HandlerState),
    ok = outrider_telemetry:websocket_stop(Port, {crash, Class, Reason}, metadata(WS)),
    report_over(WS),
    %% The crash report shows the mailbox: not what came from the client since.
    ok = outrider_discreet:forget(Port),
    erlang:raise(Class, Reason, Stacktrace).

-spec terminate(term(), #ws{}, term()) -> no_return().
terminate(Reason, WS = #ws{context = #{port := Port}, shutdown_reason = Shutdown}, HandlerState) ->
    handler_terminate(Reason, WS, HandlerState),
    ok = outrider_telemetry:websocket_stop(Port, Reason, metadata(WS)),
    case Shutdown of
        normal ->
            exit(normal);
        _ ->
            report_over(WS),
            exit({shutdown, Shutdown})
    end.

metadata(#ws{context = #{ref := Ref}, handler = Handler, req = Req}) ->
    #{listener => Ref, handler => Handler, req => Req}.

handler_terminate(Reason, #ws{handler = Handler, req = Req}, HandlerState) ->
    _ = cowboy_handler:terminate(Reason, Req, HandlerState, Handler),
    ok.

%% What costs no window and needs no answer, and has no order with what comes after it: credit, or the last of all.
last(Command, #ws{number = Number, writer = Writer}) ->
    outrider_writer:write_last(outrider_protocol:bundle(Number, 1, outrider_protocol:command(Command)), Writer).

report_over(#ws{context = Context, number = Number}) ->
    outrider_context:over(Number, Context).

%% Callbacks of module sys. The state is Cowboy's triple, without what is the sidecar's.

-spec system_continue(pid(), [sys:dbg_opt()], {#ws{}, term(), sidecar}) -> no_return().
system_continue(_Parent, _Debug, {WS, HandlerState, sidecar}) ->
    next(WS, HandlerState).

-spec system_terminate(term(), pid(), [sys:dbg_opt()], {#ws{}, term(), sidecar}) -> no_return().
system_terminate(Reason, _Parent, _Debug, {WS, HandlerState, sidecar}) ->
    _ = last(abort, WS),
    terminate(Reason, WS, HandlerState).

-spec system_code_change(State, module(), term(), term()) -> {ok, State} when State :: {#ws{}, term(), sidecar}.
system_code_change(State, _Module, _OldVsn, _Extra) ->
    {ok, State}.
