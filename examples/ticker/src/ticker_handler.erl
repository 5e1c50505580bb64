%% One tab, or one of the further connections that a tab has opened: a WebSocket at /numbers.
%%
%% The browser sends `mode each` or `mode broadcast`; what it gets stands in ticker_source. In the mode broadcast this process
%% sleeps. Numbers that a slow client does not take are dropped: newer ones follow.
-module(ticker_handler).
-behaviour(cowboy_websocket).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).

init(Req, State) ->
    {cowboy_websocket, Req, State, #{compress => true, on_backlog => drop, max_frame_size => 100}}.

websocket_init(State) ->
    ok = ticker_source:join(),
    {[], State, hibernate}.

websocket_handle({text, <<"mode each">>}, State) ->
    ok = ticker_source:set_mode(each),
    {[], State, hibernate};
websocket_handle({text, <<"mode broadcast">>}, State) ->
    ok = ticker_source:set_mode(broadcast),
    {[], State, hibernate};
websocket_handle(_Frame, State) ->
    {[], State, hibernate}.

websocket_info({send, Frame}, State) ->
    {[Frame], State};
websocket_info(_Message, State) ->
    {[], State}.
