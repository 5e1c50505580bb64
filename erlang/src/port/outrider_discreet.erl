%%% Keeps what clients sent out of crash reports: payloads, headers, query strings.
%%%
%%% A crash report shows the reason, the arguments in the stacktrace, and the messages of the mailbox. Each of these can hold
%%% a packet or an event of the sidecar. Called by the processes that are about to crash, in their own name.
-module(outrider_discreet).

-export([error/2, forget/1]).

%% The reason of a process of ours that failed while it handled what clients sent: what failed and where, not with what.
-spec error(term(), list()) -> {atom(), list()}.
error(Reason, Stacktrace) ->
    {name(Reason), [frame(Frame) || Frame <- Stacktrace]}.

%% Drop all events of this port that wait in the mailbox.
-spec forget(port()) -> ok.
forget(Port) ->
    receive
        {Port, _} -> forget(Port)
    after 0 -> ok
    end.

name(Reason) when is_atom(Reason) -> Reason;
name(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> element(1, Reason);
name(_) -> error.

frame({Module, Function, Args, Location}) when is_list(Args) -> {Module, Function, length(Args), place(Location)};
frame({Module, Function, Arity, Location}) -> {Module, Function, Arity, place(Location)};
frame(_) -> hidden.

place(Location) -> [Item || {Key, _} = Item <- Location, Key =:= file orelse Key =:= line].
