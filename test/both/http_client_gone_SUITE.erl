%% What happens to the process of a request when its client goes, or has said nothing for longer than a timeout.
-module(http_client_gone_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE) -- [streams_to_head].

%%% The client goes

the_client_goes_while_the_handler_waits(_) ->
    #{calls := [{exit, shutdown}], log := []} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, Req, State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:process(Probe),
        http_client:close(Socket),
        probe:await_exit(Probe),
        ok
    end).

%% A loop handler that traps exits is told by terminate/3.
the_client_goes_and_the_handler_traps_exits(_) ->
    #{calls := [ready, {terminate, shutdown}, {exit, normal}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            process_flag(trap_exit, true),
            probe:note(Probe, ready),
            {cowboy_loop, Req, State}
        end
    }}}, fun(Server) -> leave_at(ready, Server) end).

the_client_goes_in_the_middle_of_a_stream(_) ->
    #{calls := [{exit, shutdown}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req0, State) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(<<"first">>, nofin, Req),
            {cowboy_loop, Req, State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := 200} = http_client:head(Socket),
        <<"first">> = http_client:chunk(Socket),
        http_client:close(Socket),
        probe:await_exit(Probe),
        ok
    end).

%% One that does not heed the signal is killed after shutdown_timeout.
a_handler_that_does_not_go_is_killed(_) ->
    #{calls := [ready, {exit, killed}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            process_flag(trap_exit, true),
            probe:note(Probe, ready),
            receive never -> ok end,
            {ok, Req, State}
        end
    }}, protocol => #{shutdown_timeout => 100}}, fun(Server) -> leave_at(ready, Server) end).

%% Asks, and goes at this event.
leave_at(Event, #{probe := Probe} = Server) ->
    Socket = http_client:connect(Server),
    http_client:send(Socket, http_client:request("GET", "/")),
    Event = probe:await(Probe, Event),
    http_client:close(Socket),
    {exit, _} = probe:await_exit(Probe),
    ok.

%%% Behind the head of an answer to HEAD

%% The client has all of the answer to HEAD with its head, and the handler may still have something to do: it ends by itself, and the
%% next request waits for that; or it hears that the client has gone.
the_handler_of_a_head_goes_on(_) ->
    #{wire := 200, calls := [{info, go}, {info, stop}, {terminate, stop}, {exit, normal}, {exit, shutdown}], log := []} =
        streams_to_head(fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            First = asks_head(Socket, [], Probe),
            http_client:send(Socket, http_client:request("HEAD", "/")),
            First ! stop,
            probe:await_exit(Probe),
            #{status := Status} = http_client:response(Socket, <<"HEAD">>),
            http_client:close(Socket),
            probe:await_exits(Probe, 2),
            Status
        end).

the_handler_of_a_last_head_goes_on(_) ->
    #{wire := closed, calls := [{info, go}, {info, stop}, {terminate, stop}, {exit, normal}], log := []} =
        streams_to_head(fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            asks_head(Socket, [{"connection", "close"}], Probe) ! stop,
            probe:await_exit(Probe),
            http_client:closed(Socket)
        end).

the_handler_of_a_last_head_hears_that_its_client_has_gone(_) ->
    #{wire := ok, calls := [{info, go}, {exit, shutdown}], log := []} =
        streams_to_head(fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            _ = asks_head(Socket, [{"connection", "close"}], Probe),
            http_client:close(Socket),
            probe:await_exit(Probe),
            ok
        end).

streams_to_head(Scenario) ->
    same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, cowboy_req:stream_reply(200, Req), State} end,
        info => fun
            (go, Req, State) ->
                ok = cowboy_req:stream_body(<<"some">>, nofin, Req),
                {ok, Req, State};
            (stop, Req, State) ->
                ok = cowboy_req:stream_body(<<"last">>, fin, Req),
                {stop, Req, State}
        end
    }}}, Scenario).

%% Returns the handler's process, once it has done something behind the answer's head.
asks_head(Socket, Headers, Probe) ->
    http_client:send(Socket, http_client:request("HEAD", "/", Headers, "")),
    #{status := 200} = http_client:response(Socket, <<"HEAD">>),
    Handler = probe:process(Probe),
    Handler ! go,
    {info, go} = probe:await(Probe, {info, go}),
    Handler.

%%% The client is silent

%% Without received data for idle_timeout the connection is closed, and the handler with it.
idle_timeout_of_a_request(_) ->
    silence(idle_timeout, 200).

%% Without any message for inactivity_timeout likewise.
inactivity_timeout_of_a_request(_) ->
    silence(inactivity_timeout, 200).

silence(Option, Timeout) ->
    #{wire := closed, calls := [{exit, shutdown}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, Req, State} end
    }}, protocol => #{Option => Timeout}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        http_client:closed(Socket)
    end).

idle_timeout_of_a_request_by_cast(_) ->
    #{wire := closed} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) ->
            ok = cowboy_req:cast({set_options, #{idle_timeout => 200}}, Req),
            {cowboy_loop, Req, State}
        end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        http_client:closed(Socket)
    end).

%% A client that only listens, to a handler that speaks within idle_timeout, twice as long as that.
bytes_sent_put_idle_timeout_off(_) ->
    #{wire := {<<"xxxxxx">>, closed}} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req0, State) ->
            Req = cowboy_req:stream_reply(200, #{<<"content-length">> => <<"6">>}, Req0),
            _ = [begin
                cowboy_req:stream_body(<<"x">>, nofin, Req),
                receive after 400 -> ok end
            end || _ <- lists:seq(1, 6)],
            {ok, Req, State}
        end
    }}, protocol => #{idle_timeout => 1200, request_timeout => 1200, reset_idle_timeout_on_send => true}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{body := Body} = http_client:response(Socket),
        {Body, http_client:closed(Socket)}
    end).
