%%% The way from one stream's process to its client: writes bundles, and keeps the stream's window.
%%%
%%% Runs in the stream's process. Each bundle costs bytes of the window until the sidecar has written them to the client's
%%% socket and gives the credit back. A process whose window is used up waits here, as a Cowboy process waits in a
%%% blocking send: for credit, or for the client's or the sidecar's end. It takes no other message meanwhile. That a client takes
%%% nothing for send_timeout is the sidecar's to notice, which sees its socket.
%%%
%%% An order to leave that comes while bundles wait is obeyed when they are written, or when the listener's shutdown time is
%%% nearly over: what a callback returned goes out whole.
-module(outrider_writer).

-export([new/2, set_parent/2, set_window/2, write/2, write_last/2, settle/1, credit/2, collect/1, sent/1, is_full/1, wait/1]).
-export_type([writer/0, result/0]).

-record(writer, {
    context :: outrider_context:context(),
    %% The monitor of the port: its 'DOWN' is the sidecar's end.
    monitor :: reference(),
    %% Whose exit ends the wait; undefined for a request, which has to be finished first.
    parent = undefined :: pid() | undefined,
    %% Bytes that may be on their way when more is written. infinity, greater than any number, is for outrider_backlog.
    window :: pos_integer() | infinity,
    %% Bytes that are.
    sent = 0 :: integer(),
    %% The order to leave that waits for the bundles before it, and until when (monotonic time in ms).
    order = none :: none | {Reason :: term(), Deadline :: integer() | infinity | over},
    handed = 0 :: outrider_collector:handed()
}).

-opaque writer() :: #writer{}.
-type result() ::
    {ok, writer()} | {error, closed | timeout | stop | atom()} | {exit, Reason :: term(), writer()}
    %% The end of a request's client, as the sidecar tells it.
    | {closed, term()}.

-spec new(outrider_context:context(), PortMonitor :: reference()) -> writer().
new(Context = #{window := Window}, Monitor) ->
    #writer{context = Context, monitor = Monitor, window = Window}.

-spec set_parent(pid(), writer()) -> writer().
set_parent(Parent, Writer) ->
    Writer#writer{parent = Parent}.

-spec set_window(pos_integer() | infinity, writer()) -> writer().
set_window(Window, Writer) ->
    Writer#writer{window = Window}.

%% Write bundles, each as soon as the window is open. After {exit, _, _} all have been written, unless the time was over.
-spec write([{Cost :: non_neg_integer(), outrider_protocol:bundle()}], writer()) -> result().
write([], Writer = #writer{order = none}) ->
    {ok, Writer};
write([], Writer = #writer{order = {Reason, _}}) ->
    {exit, Reason, Writer};
write([{Cost, Bundle} | Bundles], Writer = #writer{sent = Sent, window = Window}) when Sent < Window ->
    #writer{context = #{collector := Collector}, handed = Handed0} = Writer,
    case outrider_collector:write(Bundle, Handed0, Collector) of
        {ok, Handed} -> write(Bundles, Writer#writer{sent = Sent + Cost, handed = Handed});
        {error, _} = Error -> Error
    end;
write(Bundles, Writer0) ->
    case wait(Writer0) of
        {ok, Writer} -> write(Bundles, Writer);
        {exit, _, Writer = #writer{order = {_, over}}} -> write([], Writer);
        {exit, Reason, Writer} -> write(Bundles, ordered(Reason, Writer));
        Ended -> Ended
    end.

%% The order of a drain has the drain's time, at whose end comes that of the listener's stop. The first says the close code.
ordered({drain, _} = Reason, Writer) ->
    Writer#writer{order = {Reason, infinity}};
ordered(Reason, Writer = #writer{context = #{shutdown := Shutdown}, order = Order}) ->
    First =
        case Order of
            none -> Reason;
            {Drain, _} -> Drain
        end,
    Writer#writer{order = {First, deadline(Shutdown)}}.

%% A tenth of the time is left for the handler's terminate/3.
deadline(infinity) -> infinity;
deadline(brutal_kill) -> now_ms();
deadline(Ms) -> now_ms() + Ms - Ms div 10.

%% Write a bundle that ends the stream, or that costs nothing; without regard to the window, or to whether it arrives.
-spec write_last(outrider_protocol:bundle(), writer()) -> writer().
write_last(Bundle, Writer = #writer{context = #{collector := Collector}, handed = Handed}) ->
    Writer#writer{handed = outrider_collector:write_last(Bundle, Handed, Collector)}.

%% Wait until all that was written is in the port.
-spec settle(writer()) -> ok.
settle(#writer{context = #{collector := Collector}, handed = Handed}) ->
    outrider_collector:settle(Handed, Collector).

-spec credit(pos_integer(), writer()) -> writer().
credit(Bytes, Writer = #writer{sent = Sent}) ->
    Writer#writer{sent = Sent - Bytes}.

%% Credit that waits in the mailbox, before its turn.
-spec collect(writer()) -> writer().
collect(Writer = #writer{context = #{port := Port}}) ->
    receive
        {Port, {credit, Bytes}} -> collect(credit(Bytes, Writer))
    after 0 -> Writer
    end.

-spec sent(writer()) -> integer().
sent(#writer{sent = Sent}) ->
    Sent.

-spec is_full(writer()) -> boolean().
is_full(#writer{sent = Sent, window = Window}) ->
    Sent >= Window.

%% Wait until the window is open.
-spec wait(writer()) -> result().
wait(Writer = #writer{sent = Sent, window = Window}) when Sent < Window ->
    {ok, Writer};
wait(Writer = #writer{context = #{port := Port}, monitor = Monitor, parent = Parent, order = Order}) ->
    receive
        {Port, {credit, Bytes}} ->
            wait(credit(Bytes, Writer));
        {Port, {closed, _} = End} when Parent =:= undefined ->
            End;
        %% The client is lost. Its other ends (a close frame, a protocol error) leave it able to read: they wait their
        %% turn behind the messages that came before them.
        {Port, {closed, {error, Reason}}} when Reason =/= badframe, Reason =/= badencoding, Reason =/= badsize ->
            {error, Reason};
        %% It was reset as a request, before there was a WebSocket.
        {Port, {closed, {Kind, _}}} when Kind =:= reset; Kind =:= stream_error; Kind =:= connection_error ->
            {error, closed};
        %% An operator has closed it.
        {Port, {closed, stop}} ->
            {error, stop};
        {'DOWN', Monitor, port, _, _} ->
            {error, closed};
        {'EXIT', Parent, Reason} ->
            {exit, Reason, Writer}
    after left(Order) ->
        {Reason, _} = Order,
        {exit, Reason, Writer#writer{order = {Reason, over}}}
    end.

left(none) -> infinity;
left({_, infinity}) -> infinity;
left({_, Deadline}) -> max(0, Deadline - now_ms()).

now_ms() ->
    erlang:monotonic_time(millisecond).
