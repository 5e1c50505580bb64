%% The kinds of handlers, middlewares and stream handlers that a Cowboy application is made of: all of them are Cowboy's
%% own or a user's, and find what they expect in either server.
-module(http_handlers_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%% The response to one request for each row's bytes.
answers(Setup, Requests) ->
    #{wire := Answers} = same_test:same(Setup, fun(Server) ->
        [begin
            Socket = http_client:connect(Server),
            ok = http_client:send(Socket, Request),
            http_client:response(Socket, hd(binary:split(iolist_to_binary(Request), <<" ">>)))
        end || Request <- Requests]
    end),
    Answers.

%%% cowboy_loop

a_loop_handler_answers_later(_) ->
    #{wire := {200, <<"later">>}, calls := [{info, {answer, <<"later">>}}, {terminate, stop}, {exit, normal}]} =
        same_test:same(#{handler => {http_script_h, #{
            init => fun(Req, State) -> {cowboy_loop, Req, State} end,
            info => fun({answer, Body}, Req, State) -> {stop, cowboy_req:reply(200, #{}, Body, Req), State} end
        }}}, fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("GET", "/")),
            probe:process(Probe) ! {answer, <<"later">>},
            #{status := Status, body := Body} = http_client:response(Socket),
            {Status, Body}
        end).

a_loop_handler_streams_events_and_hibernates(_) ->
    #{wire := [<<"data: 1\n\n">>, <<"data: 2\n\n">>, last]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) ->
            {cowboy_loop, cowboy_req:stream_reply(200, #{<<"content-type">> => <<"text/event-stream">>}, Req), State,
                hibernate}
        end,
        info => fun
            (stop, Req, State) -> {stop, Req, State};
            (Data, Req, State) ->
                ok = cowboy_req:stream_events(#{data => Data}, nofin, Req),
                {ok, Req, State, hibernate}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := 200} = http_client:head(Socket),
        Pid = probe:process(Probe),
        Pid ! <<"1">>,
        One = http_client:chunk(Socket),
        Pid ! <<"2">>,
        Two = http_client:chunk(Socket),
        Pid ! stop,
        [One, Two, http_client:chunk(Socket)]
    end).

%%% cowboy_rest

rest(_) ->
    Setup = #{handler => {rest_item_h, #{}}},
    Get = fun(Fields) -> http_client:request("GET", "/", Fields, <<>>) end,
    Form = [{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", "3"}],
    [Html, Json, German, NotAcceptable, NotModified, Since, Failed, Unauthorized, Forbidden, Missing, NotAllowed,
        Options, Created, Put, Unsupported, Deleted, Head] = answers(Setup, [
            Get([]), Get([{"Accept", "application/json"}]), Get([{"Accept-Language", "de"}]),
            Get([{"Accept", "image/png"}]), Get([{"If-None-Match", "\"v1\""}]),
            Get([{"If-Modified-Since", "Thu, 02 Jan 2020 03:04:05 GMT"}]), Get([{"If-Match", "\"v2\""}]),
            http_client:request("GET", "/?unauthorized"), http_client:request("GET", "/?forbidden"),
            http_client:request("GET", "/?missing"), http_client:request("PATCH", "/"),
            http_client:request("OPTIONS", "/"),
            http_client:request("POST", "/?missing", Form, "a=1"), http_client:request("PUT", "/", Form, "a=1"),
            http_client:request("PUT", "/", [{"Content-Type", "text/plain"}, {"Content-Length", "1"}], "a"),
            http_client:request("DELETE", "/"), http_client:request("HEAD", "/")]),
    #{status := 200, body := <<"<p>en</p>">>} = Html,
    <<"text/html; charset=utf-8">> = http_client:header(<<"content-type">>, Html),
    <<"\"v1\"">> = http_client:header(<<"etag">>, Html),
    <<"accept-language, accept">> = http_client:header(<<"vary">>, Html),
    #{status := 200, body := <<"{}">>} = Json,
    #{status := 200, body := <<"<p>de</p>">>} = German,
    [406, 304, 304, 412, 401, 403, 404, 405, 200] = [Status || #{status := Status} <-
        [NotAcceptable, NotModified, Since, Failed, Unauthorized, Forbidden, Missing, NotAllowed, Options]],
    <<"Basic realm=\"r\"">> = http_client:header(<<"www-authenticate">>, Unauthorized),
    <<"GET, HEAD, OPTIONS, PUT, POST, DELETE">> = http_client:header(<<"allow">>, NotAllowed),
    {201, <<"/created">>} = {maps:get(status, Created), http_client:header(<<"location">>, Created)},
    [204, 415, 204] = [Status || #{status := Status} <- [Put, Unsupported, Deleted]],
    {none, <<"9">>} = {maps:get(framing, Head), http_client:header(<<"content-length">>, Head)}.

%%% cowboy_static

static_files(Config) ->
    Folder = proplists:get_value(priv_dir, Config),
    ok = file:write_file(filename:join(Folder, "page.html"), <<"<p>page</p>">>),
    ok = file:write_file(filename:join(Folder, "data.bin"), <<"0123456789">>),
    ok = file:write_file(filename:join(Folder, "empty.txt"), <<>>),
    %% A fixed time, so that both servers say the same.
    _ = [ok = file:change_time(filename:join(Folder, File), {{2020, 1, 2}, {3, 4, 5}})
        || File <- ["page.html", "data.bin", "empty.txt"]],
    Setup = #{routes => [
        {"/one", cowboy_static, {file, filename:join(Folder, "page.html")}},
        {"/dir/[...]", cowboy_static, {dir, Folder}}]},
    Range = fun(Value) -> http_client:request("GET", "/dir/data.bin", [{"Range", Value}], <<>>) end,
    [Page, Bin, Empty, Missing, Outside, Encoded, First, Last, Middle, Bad, NotModified, IfRange, Head, Post] =
        answers(Setup, [
            http_client:request("GET", "/one"), http_client:request("GET", "/dir/data.bin"),
            http_client:request("GET", "/dir/empty.txt"), http_client:request("GET", "/dir/none"),
            http_client:request("GET", "/dir/../../../etc/passwd"), http_client:request("GET", "/dir/%64ata.bin"),
            Range("bytes=0-3"), Range("bytes=-3"), Range("bytes=4-5"), Range("bytes=20-"),
            http_client:request("GET", "/one", [{"If-Modified-Since", "Thu, 02 Jan 2020 03:04:05 GMT"}], <<>>),
            http_client:request("GET", "/dir/data.bin", [{"Range", "bytes=0-3"}, {"If-Range", "\"other\""}], <<>>),
            http_client:request("HEAD", "/one"), http_client:request("POST", "/one")]),
    #{status := 200, body := <<"<p>page</p>">>} = Page,
    <<"text/html">> = http_client:header(<<"content-type">>, Page),
    <<"Thu, 02 Jan 2020 03:04:05 GMT">> = http_client:header(<<"last-modified">>, Page),
    #{status := 200, body := <<"0123456789">>} = Bin,
    #{status := 200, body := <<>>} = Empty,
    [404, 404, 200] = [Status || #{status := Status} <- [Missing, Outside, Encoded]],
    [{206, <<"0123">>}, {206, <<"789">>}, {206, <<"45">>}] =
        [{Status, Body} || #{status := Status, body := Body} <- [First, Last, Middle]],
    <<"bytes 0-3/10">> = http_client:header(<<"content-range">>, First),
    {416, <<"bytes */10">>} = {maps:get(status, Bad), http_client:header(<<"content-range">>, Bad)},
    304 = maps:get(status, NotModified),
    200 = maps:get(status, IfRange),
    {none, <<"11">>} = {maps:get(framing, Head), http_client:header(<<"content-length">>, Head)},
    405 = maps:get(status, Post).

%% The boundary between the ranges is a random word.
several_ranges_of_a_file(Config) ->
    Path = filename:join(proplists:get_value(priv_dir, Config), "ranges.txt"),
    ok = file:write_file(Path, <<"0123456789">>),
    #{wire := {206, <<"--boundary\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 0-1/10\r\n\r\n01"
        "\r\n--boundary\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n--boundary--">>}} =
        same_test:same(#{routes => [{"/", cowboy_static, {file, Path}}]}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("GET", "/", [{"Range", "bytes=0-1,8-9"}], <<>>)),
            #{status := Status, body := Body} = Answer = http_client:response(Socket),
            <<"multipart/byteranges; boundary=", Boundary/binary>> = http_client:header(<<"content-type">>, Answer),
            {Status, binary:replace(iolist_to_binary(Body), Boundary, <<"boundary">>, [global])}
        end).

%%% Middlewares

a_middleware_that_stops(_) ->
    [#{status := 401, body := <<"stopped">>}] = answers(#{
        handler => {ws_bare_h, #{}}, protocol => #{middlewares => [stop_m, cowboy_router, cowboy_handler]}},
        [http_client:request("GET", "/")]).

a_middleware_that_suspends(_) ->
    #{wire := 200} = same_test:same(#{
        routes => [{"/", http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}}],
        protocol => #{middlewares => [suspend_m, cowboy_router, cowboy_handler]}
    }, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:process(Probe) ! go_on,
        maps:get(status, http_client:response(Socket))
    end).

%%% Stream handlers

a_users_stream_handler(_) ->
    #{wire := {<<"1">>, <<"body">>}, calls := Calls} = same_test:same(#{
        handler => {http_script_h, #{silent => true, init => fun(Req0, State) ->
            {ok, Body, Req} = cowboy_req:read_body(Req0),
            {ok, cowboy_req:reply(200, #{}, Body, Req), State}
        end}},
        protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]}
    }, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "4"}], "body")),
        Answer = http_client:response(Socket),
        {http_client:header(<<"x-chain">>, Answer), maps:get(body, Answer)}
    end),
    [{init, 1, <<"/">>}, {data, 1, fin, <<"body">>}, {response, 200}, {terminate, 1, normal}] = Calls -- [{info, 'EXIT'}].

a_stream_handler_that_answers_itself(_) ->
    #{wire := <<"direct">>, calls := [{init, 1, <<"/direct">>}, {terminate, 1, normal}]} = same_test:same(#{
        protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]}
    }, fun(Server) -> maps:get(body, http_client:get(Server, "/direct")) end).

%% A malformed request is refused by the sidecar; the VM hears of it afterwards.
early_error(_) ->
    same_test:differ(early_error_after_the_answer, #{protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]}},
        fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, "GET / HTTP/1.1\r\n\r\n"),
            #{status := Status} = Answer = http_client:response(Socket),
            {early_error, _, _} = probe:await(Probe, fun(Event) -> element(1, Event) =:= early_error end),
            {Status, http_client:header(<<"x-chain">>, Answer)}
        end, #{
            cowboy => fun(#{wire := {400, <<"1">>}, calls := [{early_error, 400, stream_error}]}) -> ok end,
            outrider => fun(#{wire := {400, undefined}, calls := [{early_error, 400, connection_error}]}) -> ok end
        }).

early_errors_that_crash_are_logged(_) ->
    Callback = fun(_) ->
        ?MODULE ! {telling, self()},
        error(broken)
    end,
    #{log := [{error, stream_handler, broken}]} = same_test:same(#{protocol => #{
        stream_handlers => [cowboy_metrics_h, cowboy_stream_h], metrics_callback => Callback
    }}, fun(Server) ->
        true = register(?MODULE, self()),
        Refused = refused(Server, "GET / HTTP/1.1\r\n\r\n"),
        %% It has logged when it has ended.
        receive
            {telling, Pid} ->
                Monitor = monitor(process, Pid),
                receive {'DOWN', Monitor, process, _, _} -> Refused end
        after 10000 ->
            error(not_told)
        end
    end).

%% What counters of attacks see of a refused request: what was known of it by then.
metrics_of_refused_requests(_) ->
    Get = "GET /a?b HTTP/1.1\r\nHost: h\r\n",
    _ = [begin
        #{calls := [{refused, Status, Partial, _}]} = same_test:same(#{protocol => #{
            request_timeout => 300,
            stream_handlers => [cowboy_metrics_h, cowboy_stream_h],
            metrics_callback => fun(#{partial_req := #{peer := {Ip, _}, ref := {_, Name} = Ref} = Partial} = Metrics) ->
                #{pid := Pid, streamid := Id, reason := {_, Reason, Text}, resp_status := Status,
                    resp_headers := Headers, resp_body_length := 0, early_error_time := _} = Metrics,
                true = Pid =:= self(),
                true = is_atom(Text),
                #{env := #{probe := Probe}} = protocol_options(Name, Ref),
                probe:note(Probe, {refused, Status, Partial#{peer := Ip}, {Id, Reason, Headers}})
            end
        }}, fun(#{probe := Probe} = Server) ->
            Answer = refused(Server, Bytes),
            probe:await(Probe, fun(Call) -> element(1, Call) =:= refused end),
            Answer
        end),
        Keys = lists:sort(maps:keys(Partial) -- [peer, ref])
    end || {Bytes, Status, Keys} <- [
        {" GET", 400, []},
        {"GET / HTTP/9.9\r\n\r\n", 505, []},
        {"CONNECT h:80 HTTP/1.1\r\n\r\n", 501, []},
        {binary:copy(<<"a">>, 9000), 414, []},
        {"GET /a?b HTTP/1.1\r\n\r\n", 400, [headers, method, path, qs, version]},
        {[Get, "X: 1\r\nx: 2\r\ncookie: a\r\nCookie: b\r\n"], 408, [headers, method, path, qs, version]},
        {[Get, "a: ", binary:copy(<<"a">>, 9000)], 431, [headers, method, path, qs, version]},
        {"\r\nPOST http://h/%3F?<\t HTTP/1.0\r\nA : b\r\n\r\n", 400, [headers, method, path, qs, version]}
    ]],
    ok.

%% The status of the last answer, which ends the connection.
refused(Server, Bytes) ->
    Socket = http_client:connect(Server),
    _ = http_client:send(Socket, Bytes),
    last_status(Socket, none).

last_status(Socket, Status) ->
    case http_client:response(Socket) of
        #{status := Next} -> last_status(Socket, Next);
        closed -> Status
    end.

protocol_options(cowboy, Ref) -> ranch:get_protocol_options(Ref);
protocol_options(outrider, Ref) -> maps:get(protocol_options, outrider:info(Ref)).

%% A WebSocket's handshake as the chain sees it.
the_chain_sees_the_upgrade(_) ->
    #{calls := Calls} = same_test:same(#{
        handler => {ws_script_h, #{}}, protocol => #{stream_handlers => [chain_stream_h, cowboy_stream_h]}
    }, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, close),
        ws_client:recv_all(Socket)
    end),
    [{init, 1, <<"/">>}, {info, switch_protocol}, {info, inform}, {terminate, 1, switch_protocol}, websocket_init,
        {terminate, remote}, {exit, normal}] = Calls.

compression(_) ->
    Body = binary:copy(<<"compress me ">>, 100),
    #{wire := {<<"gzip">>, <<"accept-encoding">>, Body, undefined}} = same_test:same(#{
        handler => {http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, #{}, Body, Req), State} end}},
        protocol => #{stream_handlers => [cowboy_compress_h, cowboy_stream_h]}
    }, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/", [{"Accept-Encoding", "gzip"}], <<>>)),
        Zipped = http_client:response(Socket),
        Plain = http_client:get(Server, "/"),
        {http_client:header(<<"content-encoding">>, Zipped), http_client:header(<<"vary">>, Zipped),
            zlib:gunzip(maps:get(body, Zipped)), http_client:header(<<"content-encoding">>, Plain)}
    end).

compression_of_a_stream(_) ->
    #{wire := <<"hello world">>} = same_test:same(#{
        handler => {http_script_h, #{init => fun(Req0, State) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(<<"hello ">>, nofin, Req),
            ok = cowboy_req:stream_body(<<"world">>, fin, Req),
            {ok, Req, State}
        end}},
        protocol => #{stream_handlers => [cowboy_compress_h, cowboy_stream_h], compress_buffering => false}
    }, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/", [{"Accept-Encoding", "gzip"}], <<>>)),
        zlib:gunzip(iolist_to_binary(maps:get(body, http_client:response(Socket))))
    end).

%% The keys of the metrics, and those values that no clock decides.
metrics(_) ->
    Same = [ref, pid, streamid, reason, resp_status, resp_body_length, req_body_length, early_error_time,
        informational, user_data],
    #{calls := Calls} = same_test:same(#{
        handler => {http_script_h, #{init => fun(Req, #{probe := Probe} = State) ->
            cowboy_req:cast({set_options, #{metrics_user_data => #{probe => Probe}}}, Req),
            {ok, cowboy_req:reply(200, #{}, <<"body">>, Req), State}
        end}},
        protocol => #{
            stream_handlers => [cowboy_metrics_h, cowboy_stream_h],
            metrics_callback => fun(#{user_data := #{probe := Probe}} = Metrics) ->
                probe:note(Probe, {metrics, lists:sort(maps:keys(Metrics)), maps:with(Same, Metrics)})
            end
        }
    }, fun(#{probe := Probe} = Server) ->
        #{status := 200} = http_client:get(Server, "/"),
        probe:await(Probe, fun(Call) -> element(1, Call) =:= metrics end),
        ok
    end),
    [{_, Keys, #{reason := normal, resp_status := 200, resp_body_length := 4, req_body_length := 0}}] =
        [Call || {metrics, _, _} = Call <- Calls],
    true = lists:member(procs, Keys).

tracer(_) ->
    #{wire := 200, calls := Calls} = same_test:same(#{
        handler => {http_script_h, #{init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}},
        protocol => #{
            stream_handlers => [cowboy_tracer_h, cowboy_stream_h],
            tracer_match_specs => [fun(_, _, _) -> false end],
            tracer_callback => fun(_, State) -> State end
        }
    }, fun(Server) -> maps:get(status, http_client:get(Server, "/")) end),
    [{terminate, normal}, {exit, normal}] = Calls.

%%% Other protocols

a_module_that_calls_upgrade_itself(_) ->
    #{wire := [{text, <<"echo">>}, {close, 1000, <<>>}, closed]} = same_test:same(#{handler => {upgrade_h, #{
        websocket_handle => fun(Frame, State) -> {[Frame], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server),
        ws_client:send(Socket, [{text, <<"echo">>}, {close, 1000, <<>>}]),
        ws_client:recv_all(Socket)
    end).

%% There is no socket to hand over. In HTTP/2 nobody is asked to: the request's process goes on as that protocol.
a_foreign_takeover(_) ->
    Setup = #{handler => {takeover_h, #{}}},
    Scenario = fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        case http_client:response(Socket) of
            #{status := 101} -> {101, http_client:rest(Socket)};
            #{status := Status} -> Status
        end
    end,
    case same_test:is_http2() of
        true ->
            #{wire := 200, log := []} = same_test:same(Setup, Scenario),
            ok;
        false ->
            same_test:differ(foreign_takeover, Setup, Scenario, #{
                cowboy => fun(#{wire := {101, {<<"raw">>, closed}}}) -> ok end,
                outrider => fun(#{wire := 500, log := [_ | _]}) -> ok end
            })
    end.
