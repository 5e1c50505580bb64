%%% The way from one stream's process to its client: writes packets to the port, and keeps the stream's window.
%%%
%%% Runs in the stream's process. Each packet costs bytes of the window until the sidecar has written them to the client's
%%% socket and gives the credit back. A process whose window is used up waits here, as a Cowboy process waits in a
%%% blocking send: for credit, for the client's or the sidecar's end, or for send_timeout without any credit. It takes
%%% no other message meanwhile.
-module(outrider_writer).

-export([new/5, set_parent/2, set_window/2, write/2, write_last/2, credit/2, collect/1, sent/1, is_full/1, wait/1]).
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
    head :: outrider_protocol:head()
}).

-opaque writer() :: #writer{}.
-type result() :: {ok, writer()} | {error, closed | timeout | atom()} | {exit, term()}.

-spec new(port(), reference(), outrider_protocol:head(), pos_integer(), timeout()) -> writer().
new(Port, Monitor, Head, Window, SendTimeout) ->
    #writer{port = Port, monitor = Monitor, head = Head, window = Window, send_timeout = SendTimeout}.

-spec set_parent(pid(), writer()) -> writer().
set_parent(Parent, Writer) ->
    Writer#writer{parent = Parent}.

-spec set_window(pos_integer() | infinity, writer()) -> writer().
set_window(Window, Writer) ->
    Writer#writer{window = Window}.

%% Write packets, each as soon as the window is open. {error, timeout} has closed the client's connection.
-spec write([{Cost :: non_neg_integer(), iodata()}], writer()) -> result().
write([], Writer) ->
    {ok, Writer};
write([{Cost, Packet} | Packets], Writer = #writer{port = Port, sent = Sent, window = Window}) when Sent < Window ->
    try erlang:port_command(Port, Packet) of
        true -> write(Packets, Writer#writer{sent = Sent + Cost})
    catch
        error:badarg -> {error, closed}
    end;
write(Packets, Writer0) ->
    case wait(Writer0) of
        {ok, Writer} -> write(Packets, Writer);
        End -> End
    end.

%% Write a packet that ends the stream, or that costs nothing; without regard to the window, or to whether it arrives.
-spec write_last(iodata(), writer()) -> ok.
write_last(Packet, #writer{port = Port}) ->
    try erlang:port_command(Port, Packet) of
        true -> ok
    catch
        error:badarg -> ok
    end.

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
wait(Writer = #writer{port = Port, monitor = Monitor, parent = Parent, head = Head, send_timeout = Timeout}) ->
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
            {exit, Reason}
    after Timeout ->
        write_last(outrider_protocol:packet(Head, 1, outrider_protocol:command(abort)), Writer),
        {error, timeout}
    end.
