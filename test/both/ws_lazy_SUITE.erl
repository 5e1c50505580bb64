%% Handlers with the option lazy, which Cowboy does not know: once its client has spoken such a handler does the same on both servers.
-module(ws_lazy_SUITE).

-import(same_test, [same/2]).

-export([all/0]).
-export([its_callbacks_run_in_their_order/1, commands_of_websocket_init_come_before_the_answer/1]).
-export([the_first_message_may_come_in_any_pieces/1, the_first_message_may_be_large/1]).
-export([what_comes_after_the_first_is_as_ever/1]).
-export([without_websocket_init/1, the_req_of_terminate/1]).
-export([pings_after_the_first_message_are_the_handlers/1, hibernation/1, compression/1]).

all() ->
    same_test:cases(?MODULE).

its_callbacks_run_in_their_order(_) ->
    #{wire := [{text, <<"a">>}, close, closed], log := [], calls := [
        websocket_init, {websocket_handle, {text, <<"a">>}}, {terminate, remote}, {exit, normal}
    ]} = same(echo(#{}), fun(Server) ->
        Socket = ws_client:open(Server),
        ok = ws_client:send(Socket, [{text, <<"a">>}, close]),
        ws_client:recv_all(Socket)
    end),
    ok.

commands_of_websocket_init_come_before_the_answer(_) ->
    Init = #{websocket_init => fun(State) -> {[{text, <<"first">>}, {binary, binary:copy(<<"x">>, 100000)}], State} end},
    #{wire := [{text, <<"first">>}, {binary, <<_:100000/binary>>}, {text, <<"a">>}]} = same(echo(Init), fun(Server) ->
        Socket = ws_client:open(Server),
        ok = ws_client:send(Socket, {text, <<"a">>}),
        ws_client:recv(Socket, 3)
    end),
    ok.

%% Cut at each byte, and in fragments with a ping between them.
the_first_message_may_come_in_any_pieces(_) ->
    Frames = iolist_to_binary([
        ws_client:frame(0, 0, 1, <<"He">>), ws_client:frame(0, 0, 0, <<"l">>), ws_client:frame(1, 0, 0, <<"lo">>)
    ]),
    #{wire := Wire, log := []} = same((echo(#{silent => true}))#{order => any}, fun(Server) ->
        [begin
            Socket = ws_client:open(Server),
            <<First:N/binary, Rest/binary>> = Frames,
            ok = http_client:send(Socket, First),
            ok = http_client:send(Socket, Rest),
            {N, ws_client:recv(Socket)}
        end || N <- lists:seq(0, byte_size(Frames))]
    end),
    [] = [Answer || {_, Frame} = Answer <- Wire, Frame =/= {text, <<"Hello">>}].

the_first_message_may_be_large(_) ->
    #{wire := true} = same(echo(#{silent => true}), fun(Server) ->
        Socket = ws_client:open(Server),
        Message = {binary, binary:copy(<<"0123456789">>, 50000)},
        ok = ws_client:send(Socket, Message),
        Message =:= ws_client:recv(Socket)
    end),
    ok.

what_comes_after_the_first_is_as_ever(_) ->
    Info = #{websocket_info => fun(Message, State) -> {[{text, Message}], State} end},
    #{wire := [{text, <<"a">>}, {text, <<"told">>}, {text, <<"b">>}]} = same(echo(Info), fun(#{probe := Probe} = Server) ->
        Socket = ws_client:open(Server),
        ok = ws_client:send(Socket, {text, <<"a">>}),
        First = ws_client:recv(Socket),
        probe:process(Probe) ! <<"told">>,
        Second = ws_client:recv(Socket),
        ok = ws_client:send(Socket, {text, <<"b">>}),
        [First, Second, ws_client:recv(Socket)]
    end),
    ok.

without_websocket_init(_) ->
    #{wire := [{text, <<"a">>}, close, closed]} = same(#{handler => {ws_bare_h, #{opts => #{lazy => true}}}}, fun first/1),
    ok.

the_req_of_terminate(_) ->
    same_test:differ_before({2, 14}, streamid_in_partial_req, echo(#{partial_req => true}), fun first/1, #{
        cowboy => fun(#{calls := Calls}) -> [_] = [Req || {req, Req} <- Calls] end,
        outrider => fun(#{calls := Calls}) -> [#{path := <<"/">>, streamid := _}] = [Req || {req, Req} <- Calls] end
    }).

pings_after_the_first_message_are_the_handlers(_) ->
    #{wire := [{text, <<"a">>}, {pong, <<"p">>}, close, closed], calls := Calls} = same(echo(#{}), fun(Server) ->
        Socket = ws_client:open(Server),
        ok = ws_client:send(Socket, [{text, <<"a">>}]),
        First = ws_client:recv(Socket),
        ok = ws_client:send(Socket, [{ping, <<"p">>}, close]),
        [First | ws_client:recv_all(Socket)]
    end),
    true = lists:member({websocket_handle, {ping, <<"p">>}}, Calls).

hibernation(_) ->
    Script = #{websocket_init => fun(State) -> {[], State, hibernate} end},
    #{wire := [{text, <<"a">>}, close, closed]} = same(echo(Script), fun first/1),
    ok.

compression(_) ->
    #{wire := {text, <<"a">>}} = same(echo(#{opts => #{lazy => true, compress => true}}), fun(Server) ->
        Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions", "permessage-deflate"}]),
        Deflated = ws_client:deflate(ws_client:deflater(), <<"a">>),
        ok = ws_client:send(Socket, {raw, ws_client:frame(1, 4, 1, Deflated)}),
        {_, Payload} = ws_client:recv_deflated(Socket),
        {text, ws_client:inflate(ws_client:inflater(), Payload)}
    end),
    ok.

%% What a client gets that says `a' and goes.
first(Server) ->
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, [{text, <<"a">>}, close]),
    ws_client:recv_all(Socket).

echo(Script) ->
    #{handler => {ws_script_h, maps:merge(#{
        opts => #{lazy => true},
        websocket_handle => fun
            ({Type, _} = Frame, State) when Type =:= text; Type =:= binary -> {[Frame], State};
            (_, State) -> {[], State}
        end
    }, Script)}}.
