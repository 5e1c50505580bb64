%%% The process of one stream until its upgrade: what Cowboy's connection process is to a request.
%%%
%%% Spawned by the sidecar's process with the request's head. It hosts the real chain of cowboy_stream handlers, whose
%%% cowboy_stream_h spawns the request process; the envelope messages {{Pid, StreamId}, Message} of cowboy_req come here,
%%% and the chain's commands go to the sidecar (outrider_response says how). It becomes the handler's WebSocket process
%%% (outrider_websocket), or ends with the stream, or is kept for the connection's next request (outrider_kept).
%%%
%%% Left to the sidecar: HTTP/1.1 itself, its limits and timeouts, keep-alive, and the skipping of an unread body.
-module(outrider_stream).

-export([start/3]).
-export([system_continue/3, system_terminate/4, system_code_change/4]).

-define(INACTIVITY_TIMEOUT_MS, 300000).

-record(stream, {
    context :: outrider_context:context(),
    number :: pos_integer(),
    %% The number of the stream for which this process was begun.
    first :: pos_integer(),
    id :: cowboy_stream:streamid(),
    version :: cowboy:http_version(),
    monitor :: reference(),
    opts :: cowboy:opts(),
    has_body :: boolean(),
    chain = undefined :: undefined | {module(), term()},
    children = cowboy_children:init() :: cowboy_children:children(),
    %% The stream is about to end; only its answer is still missing.
    ending = false :: boolean(),
    %% The stop or the drain that this stream was told of, for what it becomes.
    stop = none :: none | shutdown | {drain, Code :: pos_integer()},
    response :: outrider_response:response()
}).

%% The process. The link to the parent is made before anything else; if the parent is gone, its exit signal arrives at once. A stream of
%% a port that is gone finds the monitor's message, likewise.
-spec start(outrider_context:context(), pos_integer(), outrider_request:head()) -> ok.
start(Context = #{port := Port, parent := Parent, ancestors := Ancestors}, Number, Head) ->
    process_flag(trap_exit, true),
    link(Parent),
    put('$ancestors', Ancestors),
    %% What proc_lib has put there, as a literal.
    put('$initial_call', {?MODULE, start, 3}),
    serve(Number, Head, Number, monitor(port, Port), Context).

%% One request after the other, of which the process was begun for the First. Of an exit proc_lib makes a stacktrace before it looks at
%% the reason; so the normal end goes back to it as a return.
serve(Number, Head, First, Monitor, Context) ->
    try
        run(Number, Head, First, Monitor, Context)
    catch
        exit:normal ->
            ok;
        throw:{?MODULE, kept, IsToCollect, Opts} ->
            _ = IsToCollect andalso erlang:garbage_collect(),
            case outrider_kept:wait(Context, Monitor, Opts) of
                {request, Next, NextHead} -> serve(Next, NextHead, First, Monitor, Context);
                leave -> ok
            end
    end.

-spec run(pos_integer(), outrider_request:head(), pos_integer(), reference(), outrider_context:context()) -> no_return().
run(Number, Head, First, Monitor, Context = #{ref := Ref}) ->
    Opts = outrider_registry:effective_options(Ref),
    Req = #{streamid := Id, version := Version, has_body := HasBody} = outrider_request:new(Ref, Head),
    ok = outrider_context:label({
        case Version of
            'HTTP/2' -> cowboy_http2;
            _ -> cowboy_http
        end,
        Ref
    }),
    Stream = #stream{
        context = Context,
        number = Number,
        first = First,
        id = Id,
        version = Version,
        monitor = Monitor,
        opts = Opts,
        has_body = HasBody,
        response = outrider_response:new(Number, Req, outrider_writer:new(Context, Monitor), Opts)
    },
    try cowboy_stream:init(Id, Req, Opts) of
        {Commands, Chain} -> loop(commands(Commands, Stream#stream{chain = Chain}))
    catch
        Class:Reason:Stacktrace ->
            log(cowboy_stream:make_error_log(init, [Id, Req, Opts], Class, Reason, Stacktrace), Stream),
            early_error({internal_error, {Class, Reason}, 'Unhandled exception in cowboy_stream:init/3.'}, Req, Stream)
    end.

loop(Stream = #stream{response = Response}) ->
    case outrider_response:is_full(Response) orelse outrider_response:has_been_large(Response) of
        true ->
            loop(respond(fun outrider_response:wait/1, Stream));
        {true, Small} ->
            true = erlang:garbage_collect(),
            wait(Stream#stream{response = Small});
        false ->
            wait(Stream)
    end.

wait(Stream = #stream{context = Context, number = Number, monitor = Monitor, id = Id, opts = Opts}) ->
    #{port := Port, parent := Parent} = Context,
    Self = self(),
    receive
        {Port, Event} ->
            loop(event(Event, Stream));
        {{Self, Id}, Message} ->
            loop(info(Message, Stream));
        {{Self, Other}, Message} ->
            log(warning, "Received message ~p for unknown stream ~p.~n", [Message, Other], Stream),
            loop(Stream);
        {'DOWN', Monitor, port, _, _} ->
            lost(closed, Stream);
        %% The request that is being answered may finish; its connection is not kept.
        {'EXIT', Parent, Reason} when Reason =:= shutdown; element(1, Reason) =:= drain ->
            loop(closing(Stream#stream{stop = Reason}));
        {'EXIT', Parent, Reason} ->
            gone({stop, {exit, Reason}, 'Parent process terminated.'}, Stream);
        {'EXIT', Pid, _} = Exit ->
            loop(down(Pid, Exit, Stream));
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], Stream);
        %% outrider:id/1. Cowboy's process says that it has not found it.
        {'$gen_call', From, {outrider, id}} ->
            ok = gen_server:reply(From, outrider_context:id(Number, Context)),
            loop(Stream);
        {'$gen_call', From, Call} ->
            ok = cowboy_children:handle_supervisor_call(Call, From, Stream#stream.children, ?MODULE),
            loop(Stream);
        Message ->
            log(warning, "Received stray message ~p.~n", [Message], Stream),
            loop(Stream)
    after maps:get(inactivity_timeout, Opts, ?INACTIVITY_TIMEOUT_MS) ->
        gone({internal_error, timeout, 'No message or data received before timeout.'}, Stream)
    end.

closing(Stream = #stream{response = Response}) ->
    Stream#stream{response = outrider_response:closing(Response)}.

%% The sidecar's events.

event({data, IsFin, Data}, Stream = #stream{id = Id, chain = Chain0}) ->
    try cowboy_stream:data(Id, IsFin, Data, Chain0) of
        {Commands, Chain} -> commands(Commands, Stream#stream{chain = Chain})
    catch
        Class:Reason:Stacktrace ->
            log(cowboy_stream:make_error_log(data, [Id, IsFin, Data, Chain0], Class, Reason, Stacktrace), Stream),
            finish({internal_error, {Class, Reason}, 'Unhandled exception in cowboy_stream:data/4.'}, Stream)
    end;
event({credit, Bytes}, Stream = #stream{response = Response}) ->
    Stream#stream{response = outrider_response:credit(Bytes, Response)};
event({closed, End}, Stream) ->
    closed(End, Stream).

%% Messages for the chain.

info(Message, Stream = #stream{id = Id, chain = Chain0}) ->
    try cowboy_stream:info(Id, Message, Chain0) of
        {Commands, Chain} -> commands(Commands, Stream#stream{chain = Chain})
    catch
        Class:Reason:Stacktrace ->
            log(cowboy_stream:make_error_log(info, [Id, Message, Chain0], Class, Reason, Stacktrace), Stream),
            finish({internal_error, {Class, Reason}, 'Unhandled exception in cowboy_stream:info/3.'}, Stream)
    end.

down(Pid, Exit, Stream = #stream{children = Children0}) ->
    case cowboy_children:down(Children0, Pid) of
        {ok, _, Children} ->
            info(Exit, Stream#stream{children = Children});
        error ->
            log(warning, "Received EXIT signal ~p for unknown process ~p.~n", [Exit, Pid], Stream),
            Stream
    end.

%% The chain's commands, in order.

commands([], Stream) ->
    Stream;
commands([{spawn, Pid, Shutdown} | Tail], Stream = #stream{id = Id, children = Children}) ->
    commands(Tail, Stream#stream{children = cowboy_children:up(Children, Pid, Id, Shutdown)});
commands([{log, _, _, _} = Log | Tail], Stream) ->
    log(Log, Stream),
    commands(Tail, Stream);
commands([Command | _], Stream = #stream{ending = true}) when Command =:= stop; element(1, Command) =:= internal_error ->
    Stream;
commands([{internal_error, _, _} = Error | _], Stream) ->
    finish(Error, Stream);
commands([{switch_protocol, Headers, Module, InitialState} | Tail], Stream) ->
    commands(Tail, upgrade(Headers, Module, InitialState, Stream));
commands([stop | _], Stream) ->
    finish(normal, Stream);
commands([Command | Tail], Stream) ->
    commands(Tail, respond(fun(Response) -> outrider_response:command(Command, Response) end, Stream)).

respond(Fun, Stream = #stream{response = Response0}) ->
    case Fun(Response0) of
        {ok, Response} ->
            Stream#stream{response = Response};
        {error, Reason} ->
            lost(Reason, Stream);
        {closed, End} ->
            closed(End, Stream);
        {unsupported, Command} ->
            log(error, "Outrider cannot carry out the stream command ~0p; the request fails.~n",
                [Command], Stream),
            finish({internal_error, {unsupported, Command}, 'Unsupported command.'}, Stream);
        {misuse, Reason} ->
            gone(Reason, Stream);
        {surplus, Reason} ->
            over(Reason, Stream)
    end.

%% The ways in which a stream ends.

%% By itself: answer what is still unanswered.
-spec finish(cowboy_stream:reason(), #stream{}) -> no_return().
finish(Reason, Stream = #stream{ending = true}) ->
    %% The chain fails at the answer, too.
    gone(Reason, Stream);
finish(Reason, Stream = #stream{response = Response}) ->
    case outrider_response:missing(Reason, Response) of
        nothing -> over(Reason, Stream);
        {abort, Why} -> gone(Why, Stream);
        Message -> over(Reason, info(Message, Stream#stream{ending = true}))
    end.

%% As the sidecar tells it.
-spec closed(timeout | {reset | stream_error | connection_error | error, atom()}, #stream{}) -> no_return().
closed({reset, Code}, Stream) ->
    over(Code, Stream);
closed({stream_error, Code}, Stream) ->
    over({stream_error, Code, 'The client has made an error on its stream.'}, Stream);
closed({connection_error, Code}, Stream) ->
    over({connection_error, Code, 'The client has made an error on the connection, or exceeded its limits.'}, Stream);
closed(timeout, Stream = #stream{version = 'HTTP/2'}) ->
    over({stop, timeout, 'Connection idle longer than configuration allows.'}, Stream);
closed(timeout, Stream) ->
    over({connection_error, timeout, 'Connection idle longer than configuration allows.'}, Stream);
closed({error, Reason}, Stream) ->
    lost(Reason, Stream).

%% With the client.
-spec lost(atom(), #stream{}) -> no_return().
lost(closed, Stream) ->
    over({socket_error, closed, 'The socket has been closed.'}, Stream);
lost(Reason, Stream) ->
    over({socket_error, Reason, 'An error has occurred on the socket.'}, Stream).

%% By force: the client's connection is closed, or its stream reset in HTTP/2.
-spec gone(term(), #stream{}) -> no_return().
gone(Reason, Stream = #stream{response = Response}) ->
    ok = outrider_response:abort(Response),
    over(Reason, Stream).

-spec over(term(), #stream{}) -> no_return().
over(normal, Stream = #stream{children = [], stop = none}) ->
    terminate_chain(normal, Stream),
    keep(Stream);
over(Reason, Stream = #stream{children = Children}) ->
    terminate_chain(Reason, Stream),
    ok = cowboy_children:terminate(Children),
    exit(normal).

%% The connection's next request may find the process. What a body has left is not kept with it.
-spec keep(#stream{}) -> no_return().
keep(#stream{context = Context, number = Number, first = First, opts = Opts, has_body = HasBody}) ->
    ok = outrider_context:kept(Number, First, Context),
    throw({?MODULE, kept, HasBody, Opts}).

-spec early_error(cowboy_stream:reason(), cowboy_req:req(), #stream{}) -> no_return().
early_error(Reason, _, Stream = #stream{version = 'HTTP/2'}) ->
    gone(Reason, Stream);
early_error(Reason, Req, Stream = #stream{id = Id, opts = Opts}) ->
    Default = {response, 500, #{<<"content-length">> => <<"0">>}, <<>>},
    Response =
        try
            cowboy_stream:early_error(Id, Reason, Req, Default, Opts)
        catch
            Class:Exception:Stacktrace ->
                Arguments = [Id, Reason, Req, Default, Opts],
                log(cowboy_stream:make_error_log(early_error, Arguments, Class, Exception, Stacktrace), Stream),
                Default
        end,
    _ = respond(fun(R) -> outrider_response:command(Response, R) end, Stream),
    exit(normal).

terminate_chain(Reason, Stream = #stream{id = Id, chain = Chain}) ->
    try
        cowboy_stream:terminate(Id, Reason, Chain)
    catch
        Class:Exception:Stacktrace ->
            log(cowboy_stream:make_error_log(terminate, [Id, Reason, Chain], Class, Exception, Stacktrace), Stream)
    end.

%% The upgrade: 101, or 200 in HTTP/2, then, of a WebSocket, the end of everything that belongs to the request.

upgrade(Headers, cowboy_websocket, InitialState, Stream) when is_map_key(<<"sec-websocket-accept">>, Headers) ->
    websocket(Headers, InitialState, Stream);
%% As in Cowboy the request's process goes on, and the protocol is what it reads and sends.
upgrade(Headers, _, _, Stream = #stream{version = 'HTTP/2'}) ->
    info({headers, 200, Headers}, Stream);
upgrade(_, Module, _, Stream) ->
    log(error, "Outrider cannot switch to the protocol ~p: it has no socket to give to ~p:takeover/7.~n",
        [Module, Module], Stream),
    finish({internal_error, {unsupported, Module}, 'Unsupported protocol.'}, Stream).

websocket(Headers0, InitialState, Stream0 = #stream{response = Response, id = Id, version = Version}) ->
    {Init, Options} = outrider_upgrade:read(InitialState, Version, Id),
    case outrider_response:is_unsent(Response) of
        true ->
            %% The chain sees the answer, a 101 as an interim one, and may change its headers. Nothing of it is sent yet.
            {Headers, Stream} = inform(outrider_upgrade:headers(Version, Headers0), Stream0),
            takeover(Headers, Options, outrider_upgrade:own(InitialState), Init, Stream);
        false ->
            log(error, "Outrider cannot upgrade to WebSocket after a response was sent.~n", [], Stream0),
            gone({internal_error, {unsupported, upgrade_after_response}, 'Unsupported upgrade.'}, Stream0)
    end.

inform(Headers0, Stream0 = #stream{id = Id, chain = Chain0, version = Version}) ->
    Answer =
        case Version of
            'HTTP/2' -> {headers, 200, Headers0};
            _ -> {inform, 101, Headers0}
        end,
    {Commands, Chain} = cowboy_stream:info(Id, Answer, Chain0),
    {Answers, Others} = lists:partition(fun(Command) -> element(1, Command) =:= element(1, Answer) end, Commands),
    Headers =
        case Answers of
            [{_, _, H} | _] -> H;
            [] -> Headers0
        end,
    %% Nothing codes what a WebSocket says but its own extensions, though cowboy_compress_h takes a 200 for a body to come.
    {maps:remove(<<"content-encoding">>, Headers), commands(Others, Stream0#stream{chain = Chain})}.

takeover(Headers, Options0, #{drain := IsTold, lazy := IsLazy, subscribe := Topics}, Init, Stream) ->
    #stream{context = Context, number = Number, monitor = Monitor, stop = Stop, response = Response} = Stream,
    #{parent := Parent, window := Window} = Context,
    {Options1, Backlog} = outrider_backlog:options(Options0, Window),
    %% Of its end is told what somebody may want to hear.
    Options = maps:merge(Options1, maps:from_list([{stats, true} || outrider_telemetry:is_heard()])),
    Upgrade = fun(Own) -> subscribe(Topics, Number, outrider_response:upgrade(Headers, maps:merge(Options, Own), Response)) end,
    %% One that begins later begins when the request has ended, too.
    case may_be_lazy(IsLazy, Stream) andalso outrider_lazy:pack({Init, Backlog, IsTold}, Number, Context) of
        {ok, Bytes} ->
            ok = end_request(Stream),
            _ = Upgrade(#{lazy => Bytes}),
            exit(normal);
        _ ->
            ok
    end,
    Writer = outrider_backlog:writer(Backlog, Upgrade(#{pid => self()})),
    ok = end_request(Stream),
    ok = outrider_upgrade:flush(Parent),
    %% A stop that was asked for meanwhile holds for the WebSocket.
    _ = Stop =/= none andalso (self() ! {'EXIT', Parent, Stop}),
    process_flag(trap_exit, false),
    %% It may stay for long: from its next garbage collection on its heap is as large as what is in it.
    {min_heap_size, Least} = erlang:system_info(min_heap_size),
    process_flag(min_heap_size, Least),
    outrider_websocket:start(Context, Number, Monitor, Writer, Backlog, IsTold, Init).

%% Who is sent away one by one has to have a process.
may_be_lazy(IsLazy, #stream{context = #{ref := Ref}, stop = Stop}) ->
    IsLazy andalso Stop =:= none andalso outrider_registry:drain(Ref) =:= undefined.

end_request(Stream = #stream{children = Children}) ->
    terminate_chain(switch_protocol, Stream),
    cowboy_children:terminate(Children).

subscribe([], _, Writer) ->
    Writer;
subscribe(Topics, Number, Writer) ->
    outrider_writer:write_last(outrider_protocol:bundle(Number, [{subscribe, Topic} || Topic <- Topics]), Writer).

log({log, Level, Format, Args}, Stream) ->
    log(Level, Format, Args, Stream).

log(Level, Format, Args, #stream{opts = Opts}) ->
    cowboy:log(Level, Format, Args, Opts).

%% Callbacks of module sys.

-spec system_continue(pid(), [sys:dbg_opt()], #stream{}) -> no_return().
system_continue(_Parent, _Debug, Stream) ->
    loop(Stream).

%% As in Cowboy, where it is the connection's process: the request that is being answered may finish.
-spec system_terminate(term(), pid(), [sys:dbg_opt()], #stream{}) -> no_return().
system_terminate(_Reason, _Parent, _Debug, Stream) ->
    loop(closing(Stream)).

-spec system_code_change(#stream{}, module(), term(), term()) -> {ok, #stream{}}.
system_code_change(Stream, _Module, _OldVsn, _Extra) ->
    {ok, Stream}.
