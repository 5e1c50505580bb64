%%% What a handler's callback returned, as bundles for the sidecar and changes of the WebSocket's state. Pure.
%%%
%%% The commands are encoded as they are met, and nothing is written before all are: a bad one fails the callback
%%% without having sent a part. All bundles of one return are written at once, so that frames that were returned
%%% together leave together.
-module(outrider_frames).

-export([commands/2, frames/2]).
-export_type([result/0]).

%% A bundle carries so many bytes at most, unless it is of one command.
-define(BUNDLE, 65536).

-type bundles() :: [{Cost :: non_neg_integer(), outrider_protocol:bundle()}].
-type change() :: {active, boolean()} | {shutdown_reason, term()} | {publish, outrider_broadcast:topic(), iodata()}.
%% stop: the list held a close frame, which is the last of the bundles.
-type result() :: {more | stop, bundles(), [change()]}.

-record(batch, {
    stream :: pos_integer(),
    %% The open bundle: its commands so far.
    count = 0 :: non_neg_integer(),
    cost = 0 :: non_neg_integer(),
    size = 0 :: non_neg_integer(),
    data = [] :: iodata(),
    %% Those before it, and the changes, last first.
    bundles = [] :: bundles(),
    changes = [] :: [change()]
}).

%% The list of a callback's `{Commands, State}`.
-spec commands(cowboy_websocket:commands(), Stream :: pos_integer()) -> result().
commands([{Type, Payload}], Stream) when Type =:= text; Type =:= binary ->
    %% What most callbacks return, without the detour.
    case outrider_protocol:message(Stream, Type, Payload) of
        {_Cost, _Data} = Bundle -> {more, [Bundle], []};
        {large, _, _Size, Whole} -> {more, outrider_protocol:pieces(Stream, Type, Whole), []}
    end;
commands([], _) ->
    {more, [], []};
commands(Commands, Stream) ->
    command(Commands, #batch{stream = Stream}).

%% The frames of the older `{reply, Frames, State}`, which knows no other commands.
-spec frames(cow_ws:frame() | [cow_ws:frame()], Stream :: pos_integer()) -> result().
frames(Frames, Stream) when is_list(Frames) ->
    frame(Frames, fun frames_next/2, #batch{stream = Stream});
frames(Frame, Stream) ->
    frame([Frame], fun frames_next/2, #batch{stream = Stream}).

frames_next([], Batch) -> done(more, Batch);
frames_next(Frames, Batch) -> frame(Frames, fun frames_next/2, Batch).

command([], Batch) ->
    done(more, Batch);
command([{active, Active} = Command | Tail], Batch = #batch{changes = Changes}) when is_boolean(Active) ->
    command(Tail, add(0, Command, Batch#batch{changes = [Command | Changes]}));
command([{deflate, Deflate} = Command | Tail], Batch) when is_boolean(Deflate) ->
    command(Tail, add(0, Command, Batch));
command([{set_options, Options} | Tail], Batch) ->
    case outrider_upgrade:set_options(Options) of
        Known when map_size(Known) =:= 0 -> command(Tail, Batch);
        Known -> command(Tail, add(0, {set_options, Known}, Batch))
    end;
command([{Subscribe, Topic} | Tail], Batch) when Subscribe =:= subscribe; Subscribe =:= unsubscribe ->
    command(Tail, add(0, {Subscribe, outrider_broadcast:topic(Topic)}, Batch));
command([{publish, Topic, Frames} | Tail], Batch = #batch{changes = Changes}) ->
    case outrider_broadcast:command(Topic, Frames) of
        none -> command(Tail, Batch);
        {Command, Data} ->
            Batch1 = Batch#batch{changes = [{publish, Topic, Data} | Changes]},
            command(Tail, add_data(0, iolist_size(Command), Command, Batch1))
    end;
command([{shutdown_reason, _} = Change | Tail], Batch = #batch{changes = Changes}) ->
    command(Tail, Batch#batch{changes = [Change | Changes]});
command(Frames, Batch) ->
    frame(Frames, fun command/2, Batch).

frame([], Next, Batch) ->
    Next([], Batch);
frame([Frame | Tail], Next, Batch0) ->
    Batch =
        case outrider_protocol:frame(Frame) of
            {Cost, Data} -> add_data(Cost, Data, Batch0);
            {large, Type, _Size, Payload} -> add_pieces(Type, Payload, flush(Batch0))
        end,
    case is_close(Frame) of
        true -> done(stop, Batch);
        false -> Next(Tail, Batch)
    end.

is_close(Frame) when is_atom(Frame) -> Frame =:= close;
is_close(Frame) -> element(1, Frame) =:= close.

add(Cost, Command, Batch) ->
    add_data(Cost, outrider_protocol:command(Command), Batch).

add_data(Cost, Data, Batch) ->
    add_data(Cost, Cost, Data, Batch).

%% What it costs is not its size where others pay for it.
add_data(Cost, Size, Data, Batch = #batch{count = Count, size = Sum}) when Count > 0, Sum + Size > ?BUNDLE ->
    add_data(Cost, Size, Data, flush(Batch));
add_data(Cost, Size, Data, Batch = #batch{count = Count, cost = CostBefore, size = SizeBefore, data = Before}) ->
    Batch#batch{count = Count + 1, cost = CostBefore + Cost, size = SizeBefore + Size, data = [Before, Data]}.

add_pieces(Type, Payload, Batch = #batch{stream = Stream, bundles = Bundles}) ->
    Batch#batch{bundles = lists:reverse(outrider_protocol:pieces(Stream, Type, Payload), Bundles)}.

flush(Batch = #batch{count = 0}) ->
    Batch;
flush(Batch = #batch{stream = Stream, count = Count, cost = Cost, data = Data, bundles = Bundles}) ->
    Bundle = {Cost, outrider_protocol:bundle(Stream, Count, Data)},
    Batch#batch{count = 0, cost = 0, size = 0, data = [], bundles = [Bundle | Bundles]}.

%% Most returns are one bundle and change nothing.
done(How, Batch) ->
    case flush(Batch) of
        #batch{bundles = [_] = Bundles, changes = []} -> {How, Bundles, []};
        #batch{bundles = Bundles, changes = Changes} -> {How, lists:reverse(Bundles), lists:reverse(Changes)}
    end.
