%%% What all streams of one sidecar share: a persistent term, of which none has a copy; and what they tell the sidecar's process.
-module(outrider_context).

-export([new/5, id/2, over/2, kept/3, upgraded/3, label/1]).
-export_type([context/0]).

-type context() :: #{
    ref := ranch:ref(),
    port := port(),
    collector := outrider_collector:collector(),
    %% The process that owns the port.
    sidecar := pid(),
    %% That of the streams, and what they have as $ancestors: it and its own.
    parent := pid(),
    ancestors := [pid() | atom()],
    window := pos_integer(),
    %% A WebSocket gives back credit for so many bytes at once.
    credit_step := pos_integer(),
    %% How long a stream has when its parent ends.
    shutdown := timeout() | brutal_kill,
    %% By which the VM knows what is its own of what the sidecar keeps for it.
    key := outrider_secret:sealed(),
    %% How many frames handlers have not sent, because of what waits for their clients: one number.
    dropped := counters:counters_ref()
}.

%% Called by a sidecar's process, whose ancestors after the first are those of the streams' parent, too.
-spec new(ranch:ref(), Sidecar :: pos_integer(), port(), outrider_collector:collector(), map()) -> context().
new(Ref, Sidecar, Port, Collector, TransOpts) ->
    Parent = outrider_registry:streams_sup(Ref),
    Window = outrider_options:window(TransOpts),
    outrider_registry:share(Ref, Sidecar, #{
        ref => Ref,
        port => Port,
        collector => Collector,
        sidecar => self(),
        parent => Parent,
        ancestors => [Parent | tl(get('$ancestors'))],
        window => Window,
        credit_step => max(1, Window div 2),
        shutdown => outrider_options:shutdown(TransOpts),
        key => outrider_secret:seal(crypto:strong_rand_bytes(32)),
        dropped => counters:new(1, [write_concurrency])
    }).

%% What names a stream, and after it nobody else.
-spec id(Stream :: pos_integer(), context()) -> {pid(), pos_integer()}.
id(Stream, #{sidecar := Sidecar}) ->
    {Sidecar, Stream}.

%% To be called by a process that has ended its stream and is about to exit abnormally all the same: the client's
%% connection is not to be aborted.
-spec over(Stream :: pos_integer(), context()) -> ok.
over(Stream, #{sidecar := Sidecar}) ->
    Sidecar ! {over, Stream},
    ok.

%% The request is over; the calling process, which has begun as the stream First, waits for the next of its connection.
-spec kept(Stream :: pos_integer(), First :: pos_integer(), context()) -> ok.
kept(Stream, First, #{sidecar := Sidecar}) ->
    Sidecar ! {kept, Stream, First, self()},
    ok.

%% The stream has become a WebSocket, which wants to be told of a drain or not.
-spec upgraded(Stream :: pos_integer(), IsTold :: boolean(), context()) -> ok.
upgraded(Stream, IsTold, #{sidecar := Sidecar}) ->
    Sidecar ! {upgraded, Stream, IsTold},
    ok.

%% What tools show of the process, as of Cowboy's. OTP has it since 27.
-spec label(tuple()) -> ok.
-if(?OTP_RELEASE >= 27).
label(Label) -> proc_lib:set_label(Label).
-else.
label(_) -> ok.
-endif.
