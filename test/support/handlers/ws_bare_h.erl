%% The smallest WebSocket handler: an echo, without websocket_init/1 and terminate/3.
-module(ws_bare_h).

-export([init/2, websocket_handle/2, websocket_info/2]).

init(Req, State = #{opts := Opts}) ->
    {cowboy_websocket, Req, State, Opts};
init(Req, State) ->
    {cowboy_websocket, Req, State}.

websocket_handle({text, _} = Frame, State) ->
    {[Frame], State};
websocket_handle(_, State) ->
    {[], State}.

websocket_info(_, State) ->
    {[], State}.
