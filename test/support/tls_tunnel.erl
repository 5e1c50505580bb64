%% Lets a client that speaks TCP reach a server that speaks TLS: so the suites run over TLS unchanged, clients that use
%% gen_tcp themselves included.
%%
%% A process for each connection carries the bytes. What one side does to its connection it does to the other: the end of one
%% direction is a close_notify, and the other way round; a connection that is cut is cut.
-module(tls_tunnel).

-export([certificate/0, through/2]).

%% The options of a listener that has the test's certificate, for localhost: made once, of P-256.
-spec certificate() -> [{atom(), term()}].
certificate() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            Options = maps:to_list(maps:with([cert, key], tls_case:chain("localhost"))),
            persistent_term:put(?MODULE, Options),
            Options;
        Options ->
            Options
    end.

%% A connection whose bytes come and go encrypted on the one that is given, to which it belongs from here on. A handshake that
%% fails shows as a server that closes.
-spec through(gen_tcp:socket(), [gen_tcp:connect_option()]) -> gen_tcp:socket().
through(Raw, Options) ->
    tunnel:through(Raw, Options, fun(Inside) ->
        case ssl:connect(Raw, [{verify, verify_none}]) of
            {ok, Outside} -> carry(Inside, Outside);
            {error, _} -> gen_tcp:close(Inside)
        end
    end).

%% A process for each direction, since either may wait for its reader.
carry(Inside, Outside) ->
    Parent = self(),
    _ = spawn_link(fun() ->
        Ended = up(Inside, Outside),
        Parent ! {self(), Ended}
    end),
    down(Outside, Inside).

up(Inside, Outside) ->
    case gen_tcp:recv(Inside, 0) of
        {ok, Bytes} ->
            case ssl:send(Outside, Bytes) of
                ok -> up(Inside, Outside);
                {error, _} -> drain(Inside)
            end;
        {error, closed} ->
            ssl:shutdown(Outside, write);
        {error, _} ->
            ssl:close(Outside)
    end.

%% The server takes no more. What the client still sends is read all the same: a socket that is closed with bytes unread resets
%% its connection, and what the server had said before would be lost with it.
drain(Inside) ->
    case gen_tcp:recv(Inside, 0, 1000) of
        {ok, _} -> drain(Inside);
        {error, _} -> ok
    end.

down(Outside, Inside) ->
    case ssl:recv(Outside, 0) of
        {ok, Bytes} ->
            case gen_tcp:send(Inside, Bytes) of
                ok -> down(Outside, Inside);
                {error, _} -> ssl:close(Outside)
            end;
        {error, _} ->
            gen_tcp:shutdown(Inside, write),
            %% The client may still read; it is gone when it has closed.
            receive
                {_, _} -> ok
            after 5000 -> ok
            end,
            ssl:close(Outside)
    end.
