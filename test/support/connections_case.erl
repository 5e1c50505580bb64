%% What the suites about single WebSockets have in common.
-module(connections_case).

-export([listen/1, listen/2, script/1, ask/2, slow_client/1, slow_client/2, closed/0, paths/2, gone/1]).

%% A server of the case's listener, whose handlers have these websocket options.
-spec listen(list()) -> same_test:server().
listen(Config) ->
    listen(Config, #{}).

listen(Config, Options) ->
    own_case:listen(proplists:get_value(listener, Config), #{routes => [{"/[...]", ws_script_h, script(Options)}]}).

%% The handler does what it is told in Erlang's terms, and echoes everything else.
-spec script(map()) -> map().
script(Options) ->
    #{
        opts => Options,
        websocket_handle => fun
            ({text, <<131, _/binary>> = Command}, State) -> told(binary_to_term(Command), State);
            ({binary, <<131, _/binary>> = Command}, State) -> told(binary_to_term(Command), State);
            ({Type, _} = Frame, State) when Type =:= text; Type =:= binary -> {[Frame], State};
            (_, State) -> {[], State}
        end,
        websocket_info => fun
            ({command, Command}, State) -> {[Command], State};
            ({wait, From}, State) ->
                From ! {waiting, self()},
                receive go_on -> {[], State} end
        end
    }.

told(crash, _) -> error(crash);
told(Command, State) -> {[Command], State}.

%% The handler answers.
-spec ask(gen_tcp:socket(), binary()) -> ok.
ask(Socket, Text) ->
    ok = ws_client:send(Socket, {text, Text}),
    {text, Text} = ws_client:recv(Socket),
    ok.

%% One whose socket takes little.
-spec slow_client(same_test:server()) -> gen_tcp:socket().
slow_client(Server) ->
    slow_client(Server, "/").

slow_client(Server, Path) ->
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    ok = http_client:send(Socket, ws_client:handshake(Path)),
    #{status := 101} = http_client:response(Socket),
    Socket.

%% The options for those that have ended.
-spec closed() -> outrider_connections:options().
closed() ->
    #{filter => #{state => closed}, limit => 1000}.

-spec paths(ranch:ref(), outrider_connections:options()) -> [binary()].
paths(Ref, Options) ->
    [Path || #{path := Path} <- outrider:connections(Ref, Options)].

%% Waits until the process has ended.
-spec gone(pid()) -> ok.
gone(Pid) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, _, _} -> ok end.
