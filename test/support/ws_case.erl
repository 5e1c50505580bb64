%% The scenes that the WebSocket suites play most: a script for the handler, a few frames of the client, and the
%% part of the transcript that the case is about. Each runs on both servers (see same_test).
-module(ws_case).

-export([each_callback/1, handled/1, sent/1, wire/1, exits_with/2]).
-export([ends/3, ends/4, table/2, lost/1, lost/2]).

%% The same case for websocket_init, websocket_handle and websocket_info: the callback returns `Return' at the first
%% message that asks for it. What came over the wire up to the end of the connection is compared and returned.
-spec each_callback(fun((map()) -> term())) -> {[ws_client:frame()], [term()]}.
each_callback(Return) ->
    [#{wire := Wire, calls := Calls, log := []}, Handle, Info] = [returned(Callback, Return)
        || Callback <- [websocket_init, websocket_handle, websocket_info]],
    #{wire := Wire, log := []} = Handle,
    #{wire := Wire, log := []} = Info,
    End = lists:nthtail(1, Calls),
    End = lists:nthtail(2, maps:get(calls, Handle)),
    End = lists:nthtail(2, maps:get(calls, Info)),
    {Wire, End}.

%% The callback named gets to return `Return(State)', then the client closes with 1000 if the server has not.
returned(Callback, Return) ->
    Script = case Callback of
        websocket_init -> #{websocket_init => Return};
        websocket_handle -> #{websocket_handle => fun
            ({text, <<"go">>}, State) -> Return(State);
            (_, State) -> {[], State}
        end};
        websocket_info -> #{
            websocket_init => fun(State) -> self() ! go, {[], State} end,
            websocket_info => fun(go, State) -> Return(State) end
        }
    end,
    same_test:same(#{handler => {ws_script_h, Script}}, fun(Server) ->
        Socket = ws_client:open(Server),
        case Callback of
            websocket_handle -> ws_client:send(Socket, {text, <<"go">>});
            websocket_info -> probe:await(maps:get(probe, Server), {websocket_info, go});
            websocket_init -> ok
        end,
        %% The server may have closed already.
        _ = ws_client:send(Socket, {close, 1000, <<"bye">>}),
        ws_client:recv_all(Socket)
    end).

%% What the handler gets for these bytes of the client.
-spec handled([ws_client:sent()]) -> [term()].
handled(Frames) ->
    #{calls := [websocket_init | Calls]} = same_test:same(#{handler => {ws_script_h, #{}}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, [Frames, {close, 1000, <<>>}]),
        ws_client:recv_all(Socket)
    end),
    [{terminate, {remote, 1000, <<>>}}, {exit, normal}] = lists:nthtail(length(Calls) - 2, Calls),
    [Frame || {websocket_handle, Frame} <- Calls].

%% The frames that these commands of websocket_handle send, before the echo of the client's close.
-spec sent(cowboy_websocket:commands()) -> [ws_client:frame()].
sent(Commands) ->
    Wire = wire(Commands),
    {Frames, [{close, 1000, <<>>}, closed]} = lists:split(length(Wire) - 2, Wire),
    Frames.

%% All that comes over the wire when websocket_handle returns these commands.
-spec wire(cowboy_websocket:commands()) -> [ws_client:frame()].
wire(Commands) ->
    #{wire := Wire, log := []} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {Commands, State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, [{text, <<"go">>}, {close, 1000, <<>>}]),
        ws_client:recv_all(Socket)
    end),
    Wire.

%% These commands of websocket_handle end the process with this reason, and nothing is logged.
-spec exits_with(term(), cowboy_websocket:commands()) -> ok.
exits_with(Reason, Commands) ->
    #{calls := [_, _, {terminate, stop}, {exit, Reason}], log := []} = same_test:same(#{handler => {ws_script_h, #{
        websocket_handle => fun(_, State) -> {Commands, State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, {text, <<>>}),
        ws_client:recv_all(Socket)
    end),
    ok.

%% These frames of the client end its WebSocket so: the frames that it gets, and the reason that terminate/3 gets, after
%% which the process ends normally and nothing is logged.
-spec ends([ws_client:sent()], [ws_client:frame()], term()) -> same_test:transcript().
ends(Frames, Wire, Reason) ->
    ends(Frames, Wire, Reason, #{}).

%% The same with these options of the handler's.
-spec ends([ws_client:sent()], [ws_client:frame()], term(), cowboy_websocket:opts()) -> same_test:transcript().
ends(Frames, Wire, Reason, Opts) ->
    #{wire := Wire, calls := Calls, log := []} = Transcript =
        same_test:same(#{handler => {ws_script_h, #{opts => Opts}}}, fun(Server) ->
            Socket = ws_client:open(Server),
            ws_client:send(Socket, Frames),
            ws_client:recv_all(Socket)
        end),
    [{terminate, Reason}, {exit, normal}] = lists:nthtail(length(Calls) - 2, Calls),
    Transcript.

%% `ends/4' for a table of rows `{Name, Frames, Wire, Reason}'; reports all wrong rows by name.
-spec table([{term(), [ws_client:sent()], [ws_client:frame()], term()}], cowboy_websocket:opts()) -> ok.
table(Rows, Opts) ->
    Wrong = [{Name, Error} || {Name, Frames, Wire, Reason} <- Rows,
        {failed, Error} <- [try ends(Frames, Wire, Reason, Opts) catch error:Error -> {failed, Error} end]],
    Wrong =:= [] orelse error({wrong_rows, Wrong}),
    ok.

%% The client disappears in this way: no close frame, terminate/3 gets {error, closed}.
-spec lost(fun((gen_tcp:socket()) -> term())) -> same_test:transcript().
lost(Leave) ->
    lost(#{}, Leave).

-spec lost(same_test:setup(), fun((gen_tcp:socket()) -> term())) -> same_test:transcript().
lost(Setup, Leave) ->
    #{calls := Calls, log := []} = Transcript =
        same_test:same(Setup#{handler => {ws_script_h, #{}}}, fun(Server) -> Leave(ws_client:open(Server)) end),
    [websocket_init, {terminate, {error, closed}}, {exit, normal}] = Calls,
    Transcript.
