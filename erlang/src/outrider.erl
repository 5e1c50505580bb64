%%% Outrider's API: cowboy's and ranch's functions for a listener, with their arguments and results.
%%%
%%% Replace cowboy:start_clear/3 by start_clear/3 here, or start_tls/3; routes, handlers, cowboy_req calls and options stay. Functions
%%% that take the name of a listener fail with badarg where none of that name runs, stop_listener/1 excepted.
-module(outrider).

-export([start_clear/3, start_tls/3, stop_listener/1, drain/2, child_spec/4]).
-export([reload_certificates/1]).
-export([suspend_listener/1, resume_listener/1, get_status/1]).
-export([connections/1, connections/2, connection/1, kick/3, kick/5, trace/2, stop_trace/1]).
-export([get_port/1, get_addr/1, info/0, info/1, metrics/1, procs/2]).
-export([get_max_connections/1, set_max_connections/2, wait_for_connections/3, wait_for_connections/4]).
-export([get_transport_options/1, set_transport_options/2, get_protocol_options/1, set_protocol_options/2]).
-export([set_env/3, get_env/2, get_env/3]).
-export([id/1, wake/2, backlog/0, stats/0]).
-export([send_many/2, subscribe/1, unsubscribe/1, publish/3, publish_from/4, subscribers/2, topics/1]).

-export_type([stats/0]).

%% Of one WebSocket.
-type stats() :: #{
    messages_received := non_neg_integer(),
    bytes_received := non_neg_integer(),
    messages_sent := non_neg_integer(),
    bytes_sent := non_neg_integer()
}.

%% Start a listener for HTTP/1.1, HTTP/2 and WebSocket over TCP or a Unix socket. It lives under Outrider's supervisor, not under
%% the caller. {error, eaddrinuse | eacces} if the address cannot be had, {error, {bad_option, Key}} for an option that
%% is unknown or of the wrong type, {error, {already_started, Pid}} if the name is taken. Options: see
%% outrider_options, and docs/cowboy-compatibility.md.
-spec start_clear(ranch:ref(), ranch:opts(), cowboy:opts()) -> {ok, pid()} | {error, term()}.
start_clear(Ref, TransOpts, ProtoOpts) ->
    start(Ref, ranch_tcp, TransOpts, ProtoOpts).

%% The same with TLS, 1.3 and 1.2. The options of TLS are among the socket_opts, as with Cowboy: see outrider_tls. Further errors:
%% {error, no_cert} where no option gives a certificate; {error, {options, {Option, Path, {error, Reason}}}} where a file cannot
%% be used, which Cowboy's listener only finds when somebody connects.
-spec start_tls(ranch:ref(), ranch:opts(), cowboy:opts()) -> {ok, pid()} | {error, term()}.
start_tls(Ref, TransOpts, ProtoOpts) ->
    start(Ref, ranch_ssl, TransOpts, ProtoOpts).

start(Ref, Transport, TransOpts0, ProtoOpts0) ->
    {TransOpts, ProtoOpts} = prepare(Transport, TransOpts0, ProtoOpts0),
    case outrider_options:check(TransOpts, ProtoOpts) of
        ok ->
            started(outrider_sup:start_listener(Ref, TransOpts, ProtoOpts));
        {error, Reason} = Error ->
            ok = outrider_options:log_refused(Ref, TransOpts, Reason),
            Error
    end.

%% Stop a listener started with start_clear/3 or start_tls/3. Its WebSocket handlers end with terminate(shutdown, …) and their clients
%% get close code 1001; requests that are being answered have the transport option shutdown (5000 ms) to finish.
%% {error, not_found} if none of that name was started so; one of child_spec/4 its supervisor stops.
-spec stop_listener(ranch:ref()) -> ok | {error, not_found}.
stop_listener(Ref) ->
    outrider_sup:stop_listener(Ref).

%% Stop a listener without sending all clients away at once: refuse new ones, tell the handlers that asked for it (websocket
%% option drain), close the others' WebSockets one after the other, finish the requests, and stop when all are gone or the
%% time is over. Returns when that is done; info/1 says how far it is. A listener of child_spec/4 is not stopped but left
%% suspended, for its supervisor to stop. Options and results: see outrider_drain, and docs/operations.md.
-spec drain(ranch:ref(), outrider_drain:options()) ->
    {ok, outrider_drain:result()} | {error, {bad_option, term()} | draining | stopped}.
drain(Ref, Options) ->
    outrider_drain:run(Ref, Options).

%% The child specification of a listener for a supervisor of your own, as ranch:child_spec/5, less the protocol's module.
%% Its id is Ranch's, by which libraries find the child. The application outrider must run.
-spec child_spec(ranch:ref(), ranch_tcp | ranch_ssl, ranch:opts(), cowboy:opts()) -> supervisor:child_spec().
child_spec(Ref, Transport, TransOpts0, ProtoOpts0) when Transport =:= ranch_tcp; Transport =:= ranch_ssl ->
    {TransOpts, ProtoOpts} = prepare(Transport, TransOpts0, ProtoOpts0),
    (outrider_listener_sup:child_spec(Ref, TransOpts, ProtoOpts))#{id => {ranch_embedded_sup, Ref}}.

%% Read the certificates, keys and lists of a listener with TLS again, now; clients that come after get what the files have.
%% Without this a change is seen within two minutes. Where a file cannot be used, nothing changes: {error, {options, …}}, as
%% start_tls/3. What the option sni_fun has said is asked for again. badarg where the listener has no TLS.
-spec reload_certificates(ranch:ref()) -> ok | {error, term()}.
reload_certificates(Ref) ->
    outrider_certificates:reload(Ref).

%% Stop listening. Existing connections go on.
-spec suspend_listener(ranch:ref()) -> ok | {error, term()}.
suspend_listener(Ref) ->
    follow(Ref, suspended).

%% Listen again: on another port than before, if the port was 0; with several sidecars on the same. If one of them cannot,
%% none does. A listener that is being drained is not resumed.
-spec resume_listener(ranch:ref()) -> ok | {error, term()}.
resume_listener(Ref) ->
    case outrider_registry:drain(Ref) of
        undefined ->
            resumed(follow(Ref, running), Ref);
        _ ->
            {error, draining}
    end.

resumed(ok, _) ->
    ok;
resumed({error, _} = Error, Ref) ->
    _ = follow(Ref, suspended),
    Error.

%% First the registry, then the sidecars: one that starts meanwhile reads the registry.
follow(Ref, Status) ->
    Supervisor = outrider_registry:supervisor(Ref),
    ok = outrider_registry:set_status(Ref, Status),
    outrider_sidecar:follow(outrider_listener_sup:sidecars(Supervisor)).

-spec get_status(ranch:ref()) -> running | suspended.
get_status(Ref) ->
    outrider_registry:status(Ref).

%% The TCP port that the listener listens on; undefined for a Unix socket, and while it is suspended.
-spec get_port(ranch:ref()) -> inet:port_number() | undefined.
get_port(Ref) ->
    case get_addr(Ref) of
        {local, _} -> undefined;
        {_, Port} -> Port
    end.

-spec get_addr(ranch:ref()) -> {inet:ip_address(), inet:port_number()} | {local, binary()} | {undefined, undefined}.
get_addr(Ref) ->
    outrider_registry:address(Ref).

-spec info() -> #{ranch:ref() => #{atom() => term()}}.
info() ->
    maps:from_list([{Ref, info(Ref)} || Ref <- outrider_registry:refs()]).

%% What ranch:info/1 tells of a listener, and of its sidecars, but for one that is being restarted: all_connections counts
%% streams (requests that are being answered and WebSockets), active_connections only the former; drain is there while
%% the listener is being drained.
-spec info(ranch:ref()) -> #{atom() => term()}.
info(Ref) ->
    outrider_info:of_listener(Ref).

%% What is measured of a listener and each of its sidecars; a number's name, kind and unit is in docs/metrics.md (outrider_metrics_table).
%% Counters begin at 0 with each OS process; times are in microseconds. It takes no longer than two seconds: of a sidecar that has
%% not answered by then, outcome says so, and there is what the VM knows of it. What a sidecar does for it is to copy a few hundred
%% numbers. outrider_prometheus serves the same.
-spec metrics(ranch:ref()) -> outrider_metrics:listener().
metrics(Ref) ->
    case outrider_metrics:listeners([Ref]) of
        [Metrics] -> Metrics;
        [] -> error(badarg, [Ref])
    end.

%% The listener's processes: connections are those of its streams, that is one for each request that is being answered and for each
%% WebSocket, and for a second or two that of a request that is over, which waits for its connection's next one if it has not ended;
%% acceptors those that own the sidecars. In Ranch the former are the children of ranch_conns_sup, where libraries look for them; here they
%% have no supervisor's child list.
-spec procs(ranch:ref(), acceptors | connections) -> [pid()].
procs(Ref, connections) ->
    _ = outrider_registry:supervisor(Ref),
    outrider_streams_sup:streams(outrider_registry:streams_sup(Ref));
procs(Ref, acceptors) ->
    outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref)).

%% The WebSockets of a listener that come first by some measure, by default those for which most waits: what their sidecars know
%% of them, and their processes. Options, keys and units: see outrider_connections, and docs/operations.md. A sidecar looks at
%% all it has, a few in each turn of its loop; {error, busy} if it does so for eight callers already. One that does not answer
%% within five seconds is left out.
-spec connections(ranch:ref()) -> [outrider_connections:connection()] | {error, busy}.
connections(Ref) ->
    outrider_connections:list(Ref, #{}).

-spec connections(ranch:ref(), outrider_connections:options()) ->
    [outrider_connections:connection()] | {error, {bad_option, term()} | busy}.
connections(Ref, Options) ->
    outrider_connections:list(Ref, Options).

%% One WebSocket of this node, by its process or by the id that connections/2 gives; undefined if there is none.
-spec connection(pid() | outrider_connections:id()) -> outrider_connections:connection() | undefined.
connection(Who) ->
    outrider_connections:find(Who).

%% In init/2: what will name the WebSocket that this request is to become, as connections/2 and wake/2 have it, also while it has no
%% process (option lazy). It means one from the upgrade on. undefined in Cowboy's processes; badarg in Req's own process, which
%% finds it by connection/1.
-spec id(cowboy_req:req()) -> outrider_connections:id() | undefined.
id(#{pid := Pid}) when Pid =/= self() ->
    case gen_server:call(Pid, {outrider, id}) of
        {Sidecar, Stream} when is_pid(Sidecar) -> {Sidecar, Stream};
        _ -> undefined
    end;
id(Req) ->
    error(badarg, [Req]).

%% Send a message to a WebSocket's process, that is to websocket_info/2; if its handler is lazy and has not begun, it begins first.
%% ok says that it was open, and as of any message not that it was handled. It asks the sidecar, which crosses the port twice: to
%% a process that one has, send. {error, busy} if 100 questions to that sidecar wait for an answer.
-spec wake(outrider_connections:id(), Message :: term()) -> ok | {error, not_found | busy}.
wake(Id, Message) ->
    outrider_connections:wake(Id, Message).

%% Close a WebSocket, whatever its handler does at the moment: what waits for the client is discarded, but for the message that
%% is being written, and the close frame follows. Its handler ends with terminate(stop, …), as if it had returned that frame,
%% when it has handled what came before; what it returns meanwhile goes nowhere. Text of 123 bytes of UTF-8 at most; badarg for
%% codes that a server may not send.
-spec kick(pid() | outrider_connections:id(), Code :: 1000..4999, Text :: iodata()) -> ok | {error, not_found}.
kick(Who, Code, Text) ->
    outrider_connections:kick(Who, Code, Text).

%% Close all those of a listener to which the filter of connections/2 applies now, rate of them in a second (1000; infinity).
%% Returns when that is done, with their number. It ends with its caller.
-spec kick(ranch:ref(), outrider_connections:filter(), Code :: 1000..4999, Text :: iodata(), outrider_connections:kick_options()) ->
    {ok, non_neg_integer()} | {error, {bad_option, term()} | busy}.
kick(Ref, Filter, Code, Text, Options) ->
    outrider_connections:kick(Ref, Filter, Code, Text, Options).

%% Look at the frames of one WebSocket as they pass: direction, opcode, size, flags and time of each, and nothing of their content
%% but for the option content. The calling process, or another, gets {outrider, trace, Trace, Frame} for each and
%% {outrider, trace_end, Trace, #{reason, frames, missed}} at the end; or a file is written that Wireshark reads. It ends by itself:
%% see outrider_trace, also for the options, and docs/operations.md. {error, traced} where somebody looks already, {error,
%% too_many} beyond 16 at a time in a sidecar.
-spec trace(pid() | outrider_connections:id(), outrider_trace:options()) ->
    {ok, Trace :: pid()} | {error, {bad_option, term()} | not_found | traced | too_many | file:posix()}.
trace(Who, Options) ->
    outrider_trace:start(Who, Options).

-spec stop_trace(Trace :: pid()) -> ok.
stop_trace(Trace) ->
    outrider_trace:stop(Trace).

%% How many HTTP connections each of the listener's sidecars accepts before it pauses; WebSockets are not counted, as in
%% Ranch (for those there is the transport option max_sockets). Ranch's default is ten times 1024.
-spec get_max_connections(ranch:ref()) -> ranch:max_conns().
get_max_connections(Ref) ->
    outrider_options:max_connections(outrider_registry:transport_options(Ref)).

-spec set_max_connections(ranch:ref(), ranch:max_conns()) -> ok.
set_max_connections(Ref, Max) when Max =:= infinity; is_integer(Max), Max >= 0 ->
    TransOpts = outrider_registry:transport_options(Ref),
    ok = outrider_registry:set_transport_options(Ref, TransOpts#{max_connections => Max}),
    outrider_sidecar:set_max_connections(outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref)), Max).

%% Wait until the number of the listener's streams (all_connections of info/1) is so; look each Interval ms, 1000 by default.
%% A listener that does not run has none. badarg for what Ranch refuses.
-spec wait_for_connections(ranch:ref(), '>' | '>=' | '==' | '=<' | '<', non_neg_integer()) -> ok.
wait_for_connections(Ref, Op, Number) ->
    wait_for_connections(Ref, Op, Number, 1000).

-spec wait_for_connections(ranch:ref(), '>' | '>=' | '==' | '=<' | '<', non_neg_integer(), non_neg_integer()) -> ok.
wait_for_connections(Ref, Op, Number, Interval) when
    Op =:= '>' orelse Op =:= '>=' orelse Op =:= '==' orelse Op =:= '=<' orelse Op =:= '<' andalso Number > 0,
    is_integer(Number), Number >= 0, is_integer(Interval), Interval >= 0
->
    case erlang:Op(all_connections(Ref), Number) of
        true ->
            ok;
        false ->
            ok = timer:sleep(Interval),
            wait_for_connections(Ref, Op, Number, Interval)
    end;
wait_for_connections(Ref, Op, Number, Interval) ->
    error(badarg, [Ref, Op, Number, Interval]).

all_connections(Ref) ->
    try
        maps:get(all_connections, info(Ref))
    catch
        error:badarg -> 0
    end.

-spec get_transport_options(ranch:ref()) -> ranch:opts().
get_transport_options(Ref) ->
    outrider_registry:transport_options(Ref).

%% For the sidecars that start from now on. As in Ranch, max_connections stays what it is: there is set_max_connections/2.
-spec set_transport_options(ranch:ref(), ranch:opts()) -> ok | {error, {bad_option, term()}}.
set_transport_options(Ref, TransOpts0) ->
    IsTls = outrider_options:is_tls(outrider_registry:transport_options(Ref)),
    TransOpts = outrider_options:seal((outrider_options:normalize(TransOpts0))#{tls => IsTls}),
    case outrider_options:check(TransOpts, outrider_registry:protocol_options(Ref)) of
        ok -> outrider_registry:set_transport_options(Ref, TransOpts#{max_connections => get_max_connections(Ref)});
        {error, _} = Error -> Error
    end.

-spec get_protocol_options(ranch:ref()) -> cowboy:opts().
get_protocol_options(Ref) ->
    outrider_registry:protocol_options(Ref).

%% For the requests that come after; what the sidecar sees to, limits and timeouts of connections, for the sidecars that start
%% from now on.
-spec set_protocol_options(ranch:ref(), cowboy:opts()) -> ok | {error, {bad_option, term()}}.
set_protocol_options(Ref, ProtoOpts) ->
    case outrider_options:check(outrider_registry:transport_options(Ref), ProtoOpts) of
        ok -> outrider_registry:set_protocol_options(Ref, ProtoOpts, outrider_handler:in_place(ProtoOpts));
        {error, _} = Error -> Error
    end.

%% Change the listener's env: for the requests that come after.
-spec set_env(ranch:ref(), atom(), term()) -> ok.
set_env(Ref, Name, Value) ->
    ProtoOpts = outrider_registry:protocol_options(Ref),
    Env = maps:get(env, ProtoOpts, #{}),
    New = ProtoOpts#{env => Env#{Name => Value}},
    outrider_registry:set_protocol_options(Ref, New, outrider_handler:in_place(New)).

-spec get_env(ranch:ref(), atom()) -> term().
get_env(Ref, Name) ->
    maps:get(Name, maps:get(env, outrider_registry:protocol_options(Ref), #{})).

-spec get_env(ranch:ref(), atom(), term()) -> term().
get_env(Ref, Name, Default) ->
    maps:get(Name, maps:get(env, outrider_registry:protocol_options(Ref), #{}), Default).

%% In a callback of a WebSocket with the option max_backlog or on_backlog: the bytes that it has sent and its client has
%% not taken, as far as its process has heard, and how many messages were dropped. badarg in any other process.
-spec backlog() -> outrider_backlog:info().
backlog() ->
    outrider_backlog:info().

%% In a callback of a WebSocket: what its client has sent and was sent so far, in messages (pings and pongs too) and in the bytes of
%% their payloads, not compressed; with what others have sent to many, and what waits for the client. For what used inet:getstat/1.
%% It is a question to its sidecar, which crosses the port twice: for now and then, not for each message. badarg in any other
%% process, {error, timeout} where the sidecar does not answer within five seconds.
-spec stats() -> stats() | {error, timeout}.
stats() ->
    {parent, Sidecar} = process_info(self(), parent),
    lists:member(Sidecar, [outrider_collector:owner(Collector) || Collector <- outrider_registry:collectors()]) orelse error(badarg),
    case outrider_sidecar:ask_sidecars([Sidecar], {stats, self()}) of
        [Stats = #{}] -> Stats;
        [] -> {error, timeout};
        [_] -> error(badarg)
    end.

%% Send frames to the WebSockets of these processes (pg, gproc, Phoenix.PubSub or a list of one's own may know them), here and
%% on other nodes: as one command to each sidecar, without waking a process. Returns how many processes that are; one that is
%% no WebSocket of Outrider's, or has ended, gets nothing, and who got it nobody says. Order, slow clients and compression:
%% docs/broadcast.md. badarg for what is no list of processes, or of frames, and for close frames; {too_large, Bytes, Most} for
%% more than 15 MiB.
-spec send_many([pid()], outrider_broadcast:frames()) -> non_neg_integer().
send_many(Pids, Frames) ->
    outrider_broadcast:send_many(Pids, Frames).

%% In a WebSocket's callback: its client from now on gets what is published to the topic (1 to 255 bytes, else badarg), until
%% it ends. The same as the command {subscribe, Topic}, but that it comes before what the callback returns. Beyond the
%% transport options max_topics_per_client (100) and max_topics (100000, of a sidecar), websocket_info/2 gets
%% {outrider, {not_subscribed, Topic, Limit}}. No effect in any other process, also in Cowboy's.
-spec subscribe(outrider_broadcast:topic()) -> ok.
subscribe(Topic) ->
    outrider_broadcast:subscribe(Topic).

-spec unsubscribe(outrider_broadcast:topic()) -> ok.
unsubscribe(Topic) ->
    outrider_broadcast:unsubscribe(Topic).

%% Send frames to all who have subscribed, on every node on which this listener runs. badarg where it does not run here.
-spec publish(ranch:ref(), outrider_broadcast:topic(), outrider_broadcast:frames()) -> ok.
publish(Ref, Topic, Frames) ->
    outrider_broadcast:publish(Ref, Topic, none, Frames).

%% The same, but not to the WebSocket of this process. In its own callback the command {publish, Topic, Frames} does that.
-spec publish_from(pid(), ranch:ref(), outrider_broadcast:topic(), outrider_broadcast:frames()) -> ok.
publish_from(Pid, Ref, Topic, Frames) when is_pid(Pid) ->
    outrider_broadcast:publish(Ref, Topic, Pid, Frames);
publish_from(_, _, _, _) ->
    error(badarg).

%% How many have subscribed on this node.
-spec subscribers(ranch:ref(), outrider_broadcast:topic()) -> non_neg_integer().
subscribers(Ref, Topic) ->
    Sidecars = outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref)),
    lists:sum(outrider_sidecar:ask_sidecars(Sidecars, {subscribers, outrider_broadcast:topic(Topic)})).

%% The topics to which somebody on this node has subscribed, in no order.
-spec topics(ranch:ref()) -> [outrider_broadcast:topic()].
topics(Ref) ->
    Sidecars = outrider_listener_sup:sidecars(outrider_registry:supervisor(Ref)),
    lists:usort(lists:append(outrider_sidecar:ask_sidecars(Sidecars, topics))).

%% As Cowboy, a listener tells its stream handlers what type of connection it was started with.
prepare(Transport, TransOpts0, ProtoOpts) ->
    TransOpts = outrider_options:seal((outrider_options:normalize(TransOpts0))#{tls => Transport =:= ranch_ssl}),
    Type = maps:get(connection_type, TransOpts, supervisor),
    {TransOpts#{connection_type => Type}, ProtoOpts#{connection_type => Type}}.

%% Ranch's short form of the two errors that everybody meets.
started({error, {{shutdown, {failed_to_start_child, outrider_sidecars_sup, {listen_error, _, Reason}}}, _}}) when
    Reason =:= eaddrinuse; Reason =:= eacces
->
    {error, Reason};
started({error, {{shutdown, {failed_to_start_child, _, {listen_error, _, {options, _} = Reason}}}, _}}) ->
    {error, Reason};
started({error, {{already_started, Pid}, _}}) ->
    {error, {already_started, Pid}};
started({ok, Pid}) when is_pid(Pid) ->
    {ok, Pid};
started({error, _} = Error) ->
    Error.
