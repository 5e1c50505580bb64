%% A WebSocket handler that notes every callback and does what the case's script says.
%%
%% Its state is the map of the route's options: `probe', and a fun for each callback that the case cares about. A
%% callback without a fun changes nothing. `silent => true' leaves frames and messages unnoted. `opts' are the WebSocket options, `partial_req => true' notes the Req that
%% terminate/3 gets.
-module(ws_script_h).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2, terminate/3]).

init(Req, #{init := Script} = State) ->
    Script(Req, State);
init(Req, State) ->
    {cowboy_websocket, Req, State, maps:get(opts, State, #{})}.

websocket_init(#{probe := Probe} = State) ->
    probe:note(Probe, websocket_init),
    probe:watch(Probe),
    case State of
        #{websocket_init := Script} -> Script(State);
        #{} -> {[], State}
    end.

websocket_handle(Frame, State) ->
    note({websocket_handle, Frame}, State),
    case State of
        #{websocket_handle := Script} -> Script(Frame, State);
        #{} -> {[], State}
    end.

websocket_info(Message, State) ->
    note({websocket_info, Message}, State),
    case State of
        #{websocket_info := Script} -> Script(Message, State);
        #{} -> {[], State}
    end.

terminate(Reason, Req, #{probe := Probe} = State) ->
    probe:note(Probe, {terminate, Reason}),
    case State of
        #{partial_req := true} -> probe:note(Probe, {req, Req});
        #{} -> ok
    end,
    case State of
        #{terminate := Script} -> Script(Reason, Req, State);
        #{} -> ok
    end.

note(_, #{silent := true}) -> ok;
note(Event, #{probe := Probe}) -> probe:note(Probe, Event).
