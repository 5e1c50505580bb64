%%% What waits for a client that reads slower than its handler sends, for handlers that want a say in it.
%%%
%%% Runs in the process of a WebSocket whose init/2 returned max_backlog or on_backlog. The backlog is what outrider_writer
%%% has sent and the sidecar has not yet reported as written to the client's socket, in bytes as docs/port-protocol.md
%%% counts them ("Credit"). What happens to a message when that is max_backlog or more is the policy: the handler waits
%%% (block), its client is ended (close), or the message is discarded and counted (drop). The handler is told when half of
%%% it has drained. Other handlers pay nothing for any of this: their writer waits at the window.
-module(outrider_backlog).

-export([options/2, writer/2, admit/3, dropped/2, dropped_since/2, note/2, info/0]).
-export_type([backlog/0, info/0]).

%% What a command costs beside its payload; docs/port-protocol.md, "Credit".
-define(COST, 64).
%% Between two vain searches of the mailbox so many messages are refused for each one that was searched.
-define(SEARCH_SHARE, 64).

-record(backlog, {
    max :: pos_integer(),
    policy :: block | close | drop,
    dropped = 0 :: non_neg_integer(),
    %% It has reached max_backlog, and not been below half of that since.
    exceeded = false :: boolean(),
    %% Messages to refuse before the mailbox is searched for credit again.
    unsearched = 0 :: non_neg_integer()
}).

-opaque backlog() :: #backlog{}.
-type info() :: #{bytes := non_neg_integer(), dropped := non_neg_integer()}.

%% The sidecar's part of a WebSocket's options, and ours: undefined for a handler that did not ask for it.
-spec options(map(), Window :: pos_integer()) -> {map(), undefined | backlog()}.
options(Options, Window) ->
    case maps:take(on_backlog, Options) of
        {Policy, #{max_backlog := Max}} -> {Options, #backlog{max = Max, policy = Policy}};
        {Policy, _} -> {Options, #backlog{max = Window, policy = Policy}};
        error when is_map_key(max_backlog, Options) -> options(Options#{on_backlog => block}, Window);
        error -> {Options, undefined}
    end.

%% The writer of such a WebSocket: it waits at max_backlog, or never.
-spec writer(undefined | backlog(), outrider_writer:writer()) -> outrider_writer:writer().
writer(undefined, Writer) ->
    Writer;
writer(#backlog{policy = block, max = Max}, Writer) ->
    outrider_writer:set_window(Max, Writer);
writer(_, Writer) ->
    outrider_writer:set_window(infinity, Writer).

%% Those of a callback's commands that may go out; or full, which ends the client. Messages, pings and pongs are refused
%% whole and each for itself. All other commands, close frames among them, are carried out whatever waits.
-spec admit(Commands, outrider_writer:writer(), backlog()) -> {Commands, outrider_writer:writer(), backlog()} | full when
    Commands :: cowboy_websocket:commands().
admit(Commands, Writer, Backlog = #backlog{policy = block}) ->
    {Commands, Writer, Backlog};
admit(Commands, Writer, Backlog) when is_list(Commands) ->
    admit(Commands, 0, Writer, Backlog, []);
admit(Frame, Writer, Backlog) ->
    admit([Frame], Writer, Backlog).

%% Ahead is what of this callback's commands has been admitted before.
admit([Command | Tail], Ahead, Writer0, Backlog0 = #backlog{max = Max, dropped = Dropped}, Admitted) ->
    case cost(Command) of
        none ->
            admit(Tail, Ahead, Writer0, Backlog0, [Command | Admitted]);
        close ->
            {lists:reverse(Admitted, [Command]), Writer0, Backlog0};
        Cost ->
            {Writer, Backlog} = searched(Ahead, Writer0, Backlog0),
            case outrider_writer:sent(Writer) + Ahead < Max of
                true -> admit(Tail, Ahead + Cost, Writer, Backlog, [Command | Admitted]);
                false when Backlog#backlog.policy =:= close -> full;
                false -> admit(Tail, Ahead, Writer, Backlog#backlog{dropped = Dropped + 1}, Admitted)
            end
    end;
admit([], _, Writer, Backlog, Admitted) ->
    {lists:reverse(Admitted), Writer, Backlog}.

cost(Frame) when Frame =:= ping; Frame =:= pong ->
    ?COST;
cost({Type, Payload}) when Type =:= text; Type =:= binary; Type =:= ping; Type =:= pong ->
    iolist_size(Payload) + ?COST;
cost(Frame) when Frame =:= close; element(1, Frame) =:= close ->
    close;
cost(_) ->
    none.

%% Credit that has come may lie in the mailbox behind many messages that each send something: before a message is
%% refused, it is looked for. A vain search costs the length of the mailbox, so the next one comes some messages later;
%% except where the client would be ended.
searched(Ahead, Writer0, Backlog = #backlog{max = Max, policy = Policy, unsearched = Unsearched}) ->
    case outrider_writer:sent(Writer0) + Ahead < Max of
        true ->
            {Writer0, Backlog};
        false when Policy =:= drop, Unsearched > 0 ->
            {Writer0, Backlog#backlog{unsearched = Unsearched - 1}};
        false ->
            case outrider_writer:collect(Writer0) of
                Writer0 ->
                    {message_queue_len, Length} = process_info(self(), message_queue_len),
                    {Writer0, Backlog#backlog{unsearched = Length div ?SEARCH_SHARE}};
                Writer ->
                    {Writer, Backlog}
            end
    end.

%% So many frames of others, sent to many, were dropped: as many messages.
-spec dropped(pos_integer(), undefined | backlog()) -> undefined | backlog().
dropped(_, undefined) -> undefined;
dropped(Frames, Backlog = #backlog{dropped = Dropped}) -> Backlog#backlog{dropped = Dropped + Frames}.

%% How many more frames have been dropped now than before.
-spec dropped_since(backlog(), Now :: backlog()) -> non_neg_integer().
dropped_since(#backlog{dropped = Before}, #backlog{dropped = Now}) ->
    Now - Before.

%% To be called whenever the writer's account has changed: keeps what info/0 tells, and says when the handler is to be told
%% that the backlog has drained.
-spec note(outrider_writer:writer(), backlog()) -> {ok | {drained, info()}, backlog()}.
note(Writer, Backlog = #backlog{max = Max, dropped = Dropped, exceeded = Exceeded}) ->
    Sent = outrider_writer:sent(Writer),
    Info = #{bytes => Sent, dropped => Dropped},
    put(?MODULE, Info),
    if
        Sent >= Max -> {ok, Backlog#backlog{exceeded = true}};
        Exceeded, 2 * Sent < Max -> {{drained, Info}, Backlog#backlog{exceeded = false}};
        true -> {ok, Backlog}
    end.

%% The calling process's backlog, as far as it has heard of it.
-spec info() -> info().
info() ->
    case get(?MODULE) of
        undefined -> error(badarg);
        Info -> Info
    end.
