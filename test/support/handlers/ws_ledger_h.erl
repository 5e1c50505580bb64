%% A WebSocket handler that does what its client asks for, and enters it in the ledger first.
%%
%% The connection's name is the query string. A message is `<<Number:12/binary, Order, Rest/binary>>': twelve digits that
%% count from 1, and what to do with it.
%%
%%   e Rest       answer with the same frame
%%   p Count      answer with `<<Number:12/binary, "p">>', then push so many bytes, in frames of 1000
%%   w Ms         answer after so many milliseconds, in which no other message is taken
%%   n            note it, and do not answer
%%
%% The message `{push, Count}' has it push so many frames without being asked.
-module(ws_ledger_h).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2, terminate/3]).

init(Req, Opts) ->
    {cowboy_websocket, Req, cowboy_req:qs(Req), Opts}.

websocket_init(Name) ->
    ok = ledger:begun(Name),
    {[], Name}.

websocket_handle({Type, <<Number:12/binary, Order, Rest/binary>> = Frame}, Name) when Type =:= text; Type =:= binary ->
    ok = ledger:handled(Name, binary_to_integer(Number)),
    {answer(Order, Type, Number, Rest, Frame), Name};
websocket_handle(_, Name) ->
    {[], Name}.

websocket_info({push, Count}, Name) ->
    {pushes(Count), Name}.

terminate(Reason, _, Name) ->
    ledger:terminated(Name, Reason).

answer($e, Type, _, _, Frame) ->
    [{Type, Frame}];
answer($p, Type, Number, Bytes, _) ->
    [{Type, [Number, $p]} | pushes(binary_to_integer(Bytes) div 1000)];
answer($w, Type, _, Ms, Frame) ->
    receive after binary_to_integer(Ms) -> [{Type, Frame}] end;
answer($n, _, _, _, _) ->
    [].

pushes(Count) ->
    lists:duplicate(Count, {binary, <<"push", 0:(996 * 8)>>}).
