%% What the suites of lazy WebSockets have in common.
-module(lazy_case).

-export([listen/2, listen/3, listen/4, listen_with/2, listen_with/4, script/1, ask/2, id/1, websockets/1, metrics/1]).

%% A server of the case's listener: the handler's websocket options but lazy, what else its script has, and the listener's transport options.
-spec listen(list(), map()) -> same_test:server().
listen(Config, Options) ->
    listen(Config, Options, #{}).

listen(Config, Options, Script) ->
    listen(Config, Options, Script, #{}).

listen(Config, Options, Script, Transport) ->
    Handler = maps:merge(script(maps:merge(#{lazy => true}, Options)), Script),
    listen_with(Config, [{"/[...]", ws_script_h, Handler}], Transport, #{}).

-spec listen_with(list(), cowboy_router:routes()) -> same_test:server().
listen_with(Config, Routes) ->
    listen_with(Config, Routes, #{}, #{}).

%% Over HTTP/2, too.
listen_with(Config, Routes, Transport, Protocol) ->
    own_case:listen(proplists:get_value(listener, Config), #{
        routes => Routes, transport => Transport, protocol => Protocol#{enable_connect_protocol => true}
    }).

%% A handler that echoes, does what a binary message has as a term, and says what it is told to say.
-spec script(map()) -> map().
script(Options) ->
    #{
        opts => Options,
        websocket_handle => fun
            ({binary, <<131, _/binary>> = Commands}, State) -> {binary_to_term(Commands), State};
            ({Type, _} = Frame, State) when Type =:= text; Type =:= binary -> {[Frame], State};
            (_, State) -> {[], State}
        end,
        websocket_info => fun
            ({say, Text, _}, State) -> {[{text, Text}], State};
            ({backlog, From}, State) -> From ! {backlog, outrider:backlog()}, {[], State};
            (_, State) -> {[], State}
        end
    }.

%% It answers.
-spec ask(gen_tcp:socket(), binary()) -> ok.
ask(Socket, Text) ->
    ok = ws_client:send(Socket, {text, Text}),
    {text, Text} = ws_client:recv(Socket),
    ok.

%% Of the only one.
-spec id(ranch:ref()) -> outrider_connections:id().
id(Ref) ->
    [#{id := Id}] = outrider:connections(Ref),
    Id.

%% As its sidecar counts them.
-spec websockets(ranch:ref()) -> non_neg_integer().
websockets(Ref) ->
    maps:get(websocket, maps:get(connections, metrics(Ref))).

%% Of the only sidecar.
-spec metrics(ranch:ref()) -> map().
metrics(Ref) ->
    [#{metrics := Metrics}] = maps:get(sidecars, outrider:metrics(Ref)),
    Metrics.
