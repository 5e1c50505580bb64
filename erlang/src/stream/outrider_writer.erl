%%% The way from one stream's process to its client: writes bundles, and keeps the stream's window.
%%%
%%% Runs in the stream's process. Each bundle costs bytes of the window until the sidecar has written them to the client's
%%% socket and gives the credit back. A process whose window is used up waits here, as a Cowboy process waits in a
%%% blocking send: for credit, for the client's or the sidecar's end, or for send_timeout without any credit. It takes
%%% no other message meanwhile.
-module(outrider_writer).

-export([new/6, set_parent/2, set_window/2, write/2, write_last/2, credit/2, collect/1, sent/1, is_full/1, wait/1]).
-export_type([writer/0, result/0]).

-record(writer, {
    port :: port(),
    %% The monitor of the port: its 'DOWN' is the sidecar's end.
    monitor :: reference(),
    %% Whose exit ends the wait; undefined where the owner has to finish first.
    parent = undefined :: pid() | undefined,
    %% Bytes that may be on their way when more is written. infinity, greater than any number, is for outrider_backlog.
    window :: pos_integer() | infinity,
    %% Bytes that are.
    sent = 0 :: integer(),
    send_timeout :: timeout(),
    stream :: pos_integer(),
    collector :: outrider_collector:collector(),
    handed = 0 :: outrider_collector:handed()
}).

-opaque writer() :: #writer{}.
-type result() :: {ok, writer()} | {error, closed | timeout | atom()} | {exit, term(), writer()}.

-spec new(port(), reference(), outrider_collector:collector(), Stream, Window :: pos_integer(), timeout()) -> writer() when
    Stream :: pos_integer().
new(Port, Monitor, Collector, Stream, Window, SendTimeout) ->
    #writer{
        port = Port, monitor = Monitor, collector = Collector, stream = Stream, window = Window, send_timeout = SendTimeout
    }.

-spec set_parent(pid(), writer()) -> writer().
set_parent(Parent, Writer) ->
    Writer#writer{parent = Parent}.

-spec set_window(pos_integer() | infinity, writer()) -> writer().
set_window(Window, Writer) ->
    Writer#writer{window = Window}.

%% Write bundles, each as soon as the window is open. {error, timeout} has closed the client's connection.
-spec write([{Cost :: non_neg_integer(), outrider_protocol:bundle()}], writer()) -> result().
write([], Writer) ->
    {ok, Writer};
write([{Cost, Bundle} | Bundles], Writer = #writer{sent = Sent, window = Window}) when Sent < Window ->
    #writer{collector = Collector, handed = Handed0} = Writer,
    case outrider_collector:write(Bundle, Handed0, Collector) of
        {ok, Handed} -> write(Bundles, Writer#writer{sent = Sent + Cost, handed = Handed});
        {error, _} = Error -> Error
    end;
write(Bundles, Writer0) ->
    case wait(Writer0) of
        {ok, Writer} -> write(Bundles, Writer);
        End -> End
    end.

%% Write a bundle that ends the stream, or that costs nothing; without regard to the window, or to whether it arrives.
-spec write_last(outrider_protocol:bundle(), writer()) -> writer().
write_last(Bundle, Writer = #writer{collector = Collector, handed = Handed}) ->
    Writer#writer{handed = outrider_collector:write_last(Bundle, Handed, Collector)}.

-spec credit(pos_integer(), writer()) -> writer().
credit(Bytes, Writer = #writer{sent = Sent}) ->
    Writer#writer{sent = Sent - Bytes}.

%% Credit that waits in the mailbox, before its turn.
-spec collect(writer()) -> writer().
collect(Writer = #writer{port = Port}) ->
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
wait(Writer = #writer{port = Port, monitor = Monitor, parent = Parent, stream = Stream, send_timeout = Timeout}) ->
    receive
        {Port, {credit, Bytes}} ->
            wait(credit(Bytes, Writer));
        %% The client is lost. Its other ends (a close frame, a protocol error) leave it able to read: they wait their
        %% turn behind the messages that came before them.
        {Port, {closed, {error, Reason}}} when Reason =/= badframe, Reason =/= badencoding, Reason =/= badsize ->
            {error, Reason};
        {'DOWN', Monitor, port, _, _} ->
            {error, closed};
        {'EXIT', Parent, Reason} ->
            {exit, Reason, Writer}
    after Timeout ->
        _ = write_last(outrider_protocol:bundle(Stream, 1, outrider_protocol:command(abort)), Writer),
        {error, timeout}
    end.
