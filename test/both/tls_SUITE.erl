%% Listeners with TLS, on both servers: versions, certificates, names, clients with certificates, and how a connection ends.
%% All other suites run over TLS with OUTRIDER_TEST_TLS=true.
-module(tls_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE) -- [certificate, talks_on].

%% What a handler sees of TLS.
-define(LOOK, {http_script_h, #{init => fun(Req, State) ->
    Seen = {maps:get(scheme, Req), maps:get(port, Req), iolist_to_binary(cowboy_req:uri(Req)), certificate(cowboy_req:cert(Req))},
    {ok, cowboy_req:reply(200, #{}, io_lib:format("~0p", [Seen]), Req), State}
end, silent => true}}).

certificate(undefined) -> none;
certificate(Der) -> erlang:phash2(Der).

serve(SocketOpts, Scenario) ->
    same_test:same(#{transport => #{socket_opts => [{port, 0} | SocketOpts]}, handler => ?LOOK}, Scenario).

-define(SEEN, <<"{<<\"https\">>,443,<<\"https://localhost/\">>,none}">>).

%%% Starting

without_a_certificate(_) ->
    same_test:start(same_test:servers()),
    _ = [{error, no_cert} = Name:start_tls(?MODULE, Opts, #{})
        || Name <- same_test:servers(), Opts <- [[], [{port, 0}], #{socket_opts => [{port, 0}]}]],
    compatibility:must_name(no_socket_options),
    {error, no_cert} = outrider:start_tls(?MODULE, #{}, #{}),
    case same_test:version(cowboy) < {2, 13} of
        true -> {error, no_cert} = cowboy:start_tls(?MODULE, #{}, #{});
        false -> function_clause = try cowboy:start_tls(?MODULE, #{}, #{}) catch error:Reason -> Reason end
    end.

lists_and_maps(_) ->
    Options = [{port, 0} | tls_tunnel:certificate()],
    _ = [#{wire := ?SEEN} = same_test:same(#{transport => Transport, handler => ?LOOK}, fun tls_case:get/1)
        || Transport <- [Options, #{socket_opts => Options}]],
    ok.

info_says_ranch_ssl(_) ->
    #{wire := ranch_ssl} = serve(tls_tunnel:certificate(), fun(#{name := Name, ref := Ref}) ->
        maps:get(transport, (same_test:ranch_api(Name)):info(Ref))
    end).

%% Cowboy's listener starts, and each handshake fails; with a newer ssl it does not start either.
files_that_cannot_be_used(_) ->
    same_test:start(same_test:servers()),
    compatibility:must_name(certificate_at_start),
    Nowhere = filename:join(os:getenv("TMPDIR", "/tmp"), "nowhere.pem"),
    {error, {options, {certfile, Nowhere, {error, enoent}}}} =
        outrider:start_tls(?MODULE, [{port, 0}, {certfile, Nowhere}], #{}),
    case cowboy:start_tls(?MODULE, [{port, 0}, {certfile, Nowhere}], #{}) of
        {ok, _} ->
            true = release() < 29,
            ok = cowboy:stop_listener(?MODULE);
        {error, {{shutdown, {failed_to_start_child, _, {listen_error, ?MODULE, Reason}}}, _}} ->
            {options, {certfile, {Nowhere, enoent}}} = Reason
    end.

release() ->
    list_to_integer(erlang:system_info(otp_release)).

%%% The wire

versions(_) ->
    [#{wire := ?SEEN} = serve(tls_tunnel:certificate(), fun(Server) -> tls_case:get(Server, [{versions, [Version]}]) end)
        || Version <- ['tlsv1.2', 'tlsv1.3']].

versions_that_the_listener_does_not_want(_) ->
    _ = [#{wire := {error, protocol_version}} = quiet([{versions, [Ours]} | tls_tunnel:certificate()],
        fun(Server) -> tls_case:get(Server, [{versions, [Theirs]}]) end)
        || {Ours, Theirs} <- [{'tlsv1.2', 'tlsv1.3'}, {'tlsv1.3', 'tlsv1.2'}]],
    ok.

%% What is logged of a handshake that fails has each server's own words.
quiet(SocketOpts, Scenario) ->
    serve([{log_level, none} | SocketOpts], Scenario).

ciphers(_) ->
    Suite = "ECDHE-ECDSA-AES128-GCM-SHA256",
    #{wire := {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", error}} = quiet(
        [{ciphers, [Suite]}, {versions, ['tlsv1.2']} | tls_tunnel:certificate()],
        fun(Server) ->
            {ok, Socket} = tls_case:connect(Server, [{versions, ['tlsv1.2']}]),
            {ok, [{selected_cipher_suite, Selected}]} = ssl:connection_information(Socket, [selected_cipher_suite]),
            ssl:close(Socket),
            Other = ssl:str_to_suite("ECDHE-ECDSA-AES256-GCM-SHA384"),
            {error, _} = tls_case:get(Server, [{versions, ['tlsv1.2']}, {ciphers, [Other]}]),
            {ssl:suite_to_str(Selected), error}
        end).

http_1_1_by_alpn(_) ->
    #{wire := {{ok, <<"http/1.1">>}, {error, no_application_protocol}}} = quiet(tls_tunnel:certificate(), fun(Server) ->
        {ok, Socket} = tls_case:connect(Server, [{alpn_advertised_protocols, [<<"http/1.1">>]}]),
        Chosen = ssl:negotiated_protocol(Socket),
        ssl:close(Socket),
        {Chosen, tls_case:get(Server, [{alpn_advertised_protocols, [<<"spdy/3">>]}])}
    end).

%% 100,000 bytes are several records, each way.
large_bodies_and_messages(_) ->
    Large = binary:copy(<<"0123456789">>, 10000),
    #{wire := {100000, true}} = same_test:same(#{
        transport => [{port, 0} | tls_tunnel:certificate()],
        handler => {http_script_h, #{silent => true, init => fun(Req0, State) ->
            {ok, Body, Req} = cowboy_req:read_body(Req0),
            {ok, cowboy_req:reply(200, #{}, Body, Req), State}
        end}}
    }, fun(Server) ->
        {ok, Socket} = tls_case:connect(Server),
        ok = ssl:send(Socket, http_client:request("POST", "/", [{"content-length", "100000"}], Large)),
        Answer = upto(Socket, 100000, <<>>),
        {byte_size(Answer), Answer =:= Large}
    end).

upto(Socket, Size, Bytes) ->
    {ok, More} = ssl:recv(Socket, 0, 5000),
    case binary:split(<<Bytes/binary, More/binary>>, <<"\r\n\r\n">>) of
        [_, Body] when byte_size(Body) =:= Size -> Body;
        _ -> upto(Socket, Size, <<Bytes/binary, More/binary>>)
    end.

%% A key update of TLS 1.3, by either side's wish, in the middle of a connection.
key_updates(_) ->
    #{wire := [200, 200, 200]} = serve(tls_tunnel:certificate(), fun(Server) ->
        {ok, Socket} = tls_case:connect(Server, [{versions, ['tlsv1.3']}]),
        [begin
            ok = ssl:update_keys(Socket, Kind),
            ok = ssl:send(Socket, http_client:request("GET", "/")),
            {ok, <<"HTTP/1.1 ", Status:3/binary, _/binary>>} = ssl:recv(Socket, 0, 5000),
            binary_to_integer(Status)
        end || Kind <- [write, read_write, write]]
    end).

plain_http_on_a_tls_port(_) ->
    Socket = fun(#{port := Port}) ->
        {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
        ok = gen_tcp:send(Client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        {ok, Bytes} = gen_tcp:recv(Client, 0, 5000),
        {Bytes, gen_tcp:recv(Client, 0, 5000)}
    end,
    same_test:differ(plain_http_on_a_tls_port, #{
        transport => [{port, 0}, {log_level, none} | tls_tunnel:certificate()], handler => ?LOOK
    }, Socket, #{
        cowboy => fun(#{wire := {<<21, _/binary>>, {error, closed}}}) -> ok end,
        outrider => fun(#{wire := {<<"HTTP/1.1 400 Bad Request\r\n", _/binary>>, {error, closed}}}) -> ok end
    }).

%% A client that says nothing is not waited for.
handshake_timeout(_) ->
    #{wire := closed} = same_test:same(#{
        transport => #{handshake_timeout => 100, socket_opts => [{port, 0} | tls_tunnel:certificate()]}, handler => ?LOOK
    }, fun(#{port := Port}) ->
        {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
        {error, Reason} = gen_tcp:recv(Client, 0, 5000),
        Reason
    end).

%% Nor one that always has something more to say.
handshake_timeout_of_a_client_that_talks_on(_) ->
    #{wire := closed} = same_test:same(#{
        transport => #{handshake_timeout => 500, socket_opts => [{port, 0} | tls_tunnel:certificate()]}, handler => ?LOOK
    }, fun(#{port := Port}) ->
        {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
        %% A record with the beginning of a ClientHello that has no end.
        ok = gen_tcp:send(Client, <<22, 3, 1, 16000:16, 1, 15996:24, 3, 3>>),
        talks_on(Client)
    end).

talks_on(Client) ->
    _ = gen_tcp:send(Client, <<0>>),
    case gen_tcp:recv(Client, 0, 20) of
        {error, timeout} -> talks_on(Client);
        {error, Reason} -> Reason
    end.

curl(_) ->
    #{wire := "200 200"} = serve(tls_tunnel:certificate(), fun(#{port := Port}) ->
        Url = "https://localhost:" ++ integer_to_list(Port),
        os:cmd("curl -sk --http1.1 -o /dev/null -w '%{http_code}' --tlsv1.3 " ++ Url ++ "; printf ' '; "
            "curl -sk --http1.1 -o /dev/null -w '%{http_code}' --tls-max 1.2 " ++ Url)
    end).

%%% Certificates

%% DER, files, a key in the file of its certificate, a key with a password; of P-256 and RSA.
forms_of_certificates(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    _ = [begin
        Chain = #{cert := Cert, key := Key} = tls_case:chain("localhost", Kind),
        %% OTP keeps what a file had for two minutes.
        Path = fun(Name) -> filename:join(Dir, atom_to_list(Kind) ++ Name) end,
        Certs = [Cert | tl(maps:get(cacerts, Chain))],
        CertFile = tls_case:pem(Path("cert.pem"), Certs),
        KeyFile = tls_case:write(Path("key.pem"), [tls_case:pem_key(Key, none)], []),
        Sealed = tls_case:write(Path("sealed.pem"), [tls_case:pem_key(Key, "a password")], []),
        Both = tls_case:write(Path("both.pem"), [{'Certificate', Der, not_encrypted} || Der <- Certs],
            [tls_case:pem_key(Key, none)]),
        [#{wire := Cert} = serve(Options, fun(Server) -> tls_case:peer(tls_case:connect(Server)) end) || Options <- [
            tls_case:server(Chain),
            [{certfile, CertFile}, {keyfile, KeyFile}],
            [{certfile, iolist_to_binary(CertFile)}, {keyfile, iolist_to_binary(Sealed)}, {password, "a password"}],
            [{certfile, CertFile}, {keyfile, Sealed}, {password, fun() -> "a password" end}],
            [{certfile, Both}]
        ]]
    end || Kind <- [ec, rsa]],
    ok.

%% A client that knows the root alone must get the certificate between, which the listener has among its authorities.
a_chain_is_completed_from_the_authorities(_) ->
    Chain = #{cert := Cert, key := Key, cacerts := [Root | _] = CaCerts} = tls_case:chain("localhost"),
    _ = [#{wire := Cert} = serve(Options, fun(Server) ->
        tls_case:peer(tls_case:connect(Server, [{verify, verify_peer}, {cacerts, [Root]},
            {server_name_indication, "localhost"}]))
    end) || Options <- [[{cert, Cert}, {key, Key}, {cacerts, CaCerts}], tls_case:server(Chain)]],
    ok.

%%% Names

sni_hosts(_) ->
    One = #{cert := OneCert} = tls_case:chain("one.example"),
    Two = #{cert := TwoCert} = tls_case:chain("two.example"),
    #{wire := {OneCert, TwoCert, OneCert, TwoCert}} = serve(
        [{sni_hosts, [{"two.example", tls_case:server(Two)}]} | tls_case:server(One)],
        fun(Server) ->
            Names = ["one.example", "two.example", disable, "two.example"],
            list_to_tuple([tls_case:peer(tls_case:connect(Server, [{server_name_indication, Name}])) || Name <- Names])
        end).

sni_fun(_) ->
    One = #{cert := OneCert} = tls_case:chain("one.example"),
    Two = #{cert := TwoCert} = tls_case:chain("two.example"),
    Fun = fun
        ("two.example") -> tls_case:server(Two);
        (_) -> undefined
    end,
    #{wire := {OneCert, TwoCert, OneCert, TwoCert}} = serve([{sni_fun, Fun} | tls_case:server(One)], fun(Server) ->
        Names = ["one.example", "two.example", disable, "two.example"],
        list_to_tuple([tls_case:peer(tls_case:connect(Server, [{server_name_indication, Name}])) || Name <- Names])
    end).

%%% Clients with certificates

clients(Options, Theirs) ->
    #{cacerts := CaCerts} = Client = tls_case:chain("client", rsa),
    Stranger = tls_case:chain("stranger", rsa),
    Certificate = fun
        (none) -> [];
        (good) -> tls_case:server(Client);
        (stranger) -> tls_case:server(Stranger)
    end,
    #{wire := Wire} = quiet([{verify, verify_peer}, {cacerts, [hd(CaCerts)]} | Options] ++ tls_tunnel:certificate(),
        fun(Server) ->
            %% Which alert it is has each server's own reason, and OTP's client does not always show it.
            [case tls_case:get(Server, [{versions, [Version]} | Certificate(Kind)]) of
                {error, _} -> refused;
                Seen -> Seen
            end || Version <- ['tlsv1.3', 'tlsv1.2'], Kind <- Theirs]
        end),
    Hash = integer_to_binary(erlang:phash2(maps:get(cert, Client))),
    {Wire, <<"{<<\"https\">>,443,<<\"https://localhost/\">>,", Hash/binary, "}">>}.

a_client_with_a_certificate(_) ->
    {[Seen, ?SEEN, Seen, ?SEEN], Seen} = clients([{fail_if_no_peer_cert, false}], [good, none]).

%% verify_peer alone asks everybody for one since OTP 26.
whether_a_client_must_have_a_certificate_by_default(_) ->
    Expected = case release() < 26 of
        true -> ?SEEN;
        false -> refused
    end,
    {[Expected, Expected], _} = clients([], [none]).

a_client_must_have_a_certificate(_) ->
    {[Seen, refused, Seen, refused], Seen} = clients([{fail_if_no_peer_cert, true}], [good, none]),
    #{cacerts := [Root | _]} = tls_case:chain("client", rsa),
    Check = fun(Alert) -> fun(#{wire := {error, A}}) when A =:= Alert -> ok end end,
    same_test:differ(alert_names, #{
        transport => [{port, 0}, {verify, verify_peer}, {fail_if_no_peer_cert, true}, {cacerts, [Root]}, {log_level, none}
            | tls_tunnel:certificate()],
        handler => ?LOOK
    }, fun(Server) -> tls_case:get(Server, [{versions, ['tlsv1.2']}]) end,
    #{cowboy => Check(handshake_failure), outrider => Check(certificate_required)}).

a_client_with_a_strangers_certificate(_) ->
    {[refused, refused], _} = clients([], [stranger]).

%% The certificate between is one more than none.
depth(_) ->
    {[Seen, Seen], Seen} = clients([{depth, 1}], [good]),
    {[refused, refused], _} = clients([{depth, 0}], [good]).

%%% Sessions

session_tickets(Config) ->
    Path = filename:join(proplists:get_value(priv_dir, Config), "session"),
    Connect = fun(#{port := Port}, Flag) ->
        Said = os:cmd("(printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'; sleep 0.5) | openssl s_client -tls1_3 " ++
            Flag ++ Path ++ " -connect 127.0.0.1:" ++ integer_to_list(Port) ++ " 2>/dev/null"),
        string:find(Said, "Reused, TLSv1.3") =/= nomatch
    end,
    Twice = fun(Server) ->
        _ = file:delete(Path),
        First = Connect(Server, "-sess_out "),
        {First, filelib:is_regular(Path) andalso Connect(Server, "-sess_in ")}
    end,
    _ = [#{wire := {false, Expected}} = quiet([{session_tickets, Kind} | tls_tunnel:certificate()], Twice)
        || {Kind, Expected} <- [{disabled, false}, {stateless, true}, {stateful, true}]],
    ok.
