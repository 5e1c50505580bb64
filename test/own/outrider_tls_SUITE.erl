%% What Outrider does of its own accord with TLS: refused options, sessions, secrets, bounds. Certificates that change are in
%% outrider_tls_reload_SUITE.
-module(outrider_tls_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE) -- [drained, extensions].

init_per_testcase(_, Config) ->
    {ok, _} = application:ensure_all_started(outrider),
    Config.

end_per_testcase(_, _) ->
    try outrider:stop_listener(?MODULE) catch _:_ -> ok end,
    ok.

start(SocketOpts, TransOpts) ->
    tls_case:start(?MODULE, SocketOpts, TransOpts).

%%% Options

options_that_are_refused(_) ->
    _ = [{error, {bad_option, Name}} = outrider:start_tls(?MODULE, [{port, 0}, {Name, Value} | tls_tunnel:certificate()], #{})
        || {Name, Value} <- [
            {handshake, hello},
            {protocol, dtls}, {versions, ['tlsv1.1', 'tlsv1.2']}, {versions, []}, {ciphers, ["DES-CBC3-SHA"]},
            {key, #{algorithm => rsa, sign_fun => fun() -> ok end}}, {verify, maybe_so}, {fail_if_no_peer_cert, true},
            {depth, -1}, {sni_fun, 3}, {session_tickets, auto}, {alpn_preferred_protocols, [h2]}, {no_option_at_all, 1}
        ]],
    {error, {bad_option, cacertfile}} =
        outrider:start_tls(?MODULE, [{port, 0}, {verify, verify_peer} | tls_tunnel:certificate()], #{}),
    {error, {bad_option, certfile}} = outrider:start_clear(?MODULE, [{port, 0}, {certfile, "x"}], #{}).

%% Funs that OTP asks about clients' certificates: without them somebody would be let in whom they keep out. Where no client is
%% verified OTP does not ask them.
funs_that_verify_clients_are_refused(_) ->
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    Funs = [{verify_fun, {fun(_, _, S) -> {valid, S} end, []}}, {partial_chain, fun(_) -> unknown_ca end}],
    #{cacerts := CaCerts} = tls_case:chain("client"),
    Host = {"one.example", []},
    _ = [{error, {bad_option, Name}} = outrider:start_tls(?MODULE, [{port, 0}, Fun | Verified] ++ tls_tunnel:certificate(), #{})
        || {Name, _} = Fun <- Funs, Verified <- [
            [{verify, verify_peer}, {cacerts, CaCerts}],
            [{sni_hosts, [Host]}],
            [{sni_fun, fun(_) -> undefined end}]
        ]],
    [{error, {bad_option, sni_hosts}} = outrider:start_tls(?MODULE, [{port, 0}, {sni_hosts, [{"one.example", [Fun]}]}
        | tls_tunnel:certificate()], #{}) || Fun <- Funs],
    probe_log:detach(),
    Said = [Text || {error, Text} <- probe:stop(Probe)],
    6 = length(Said),
    true = string:find(hd(Said), "cowboy_req:cert/1 in a middleware") =/= nomatch,
    _ = start(Funs ++ tls_tunnel:certificate(), #{}).

a_host_whose_fun_would_verify_clients_is_refused(_) ->
    Server = start([{sni_fun, fun(_) -> [{verify_fun, {fun(_, _, S) -> {valid, S} end, []}}] end} | tls_tunnel:certificate()], #{}),
    {error, unrecognized_name} = tls_case:peer(tls_case:connect(Server, [{server_name_indication, "one.example"}])).

%% The authority between is trusted though its issuer is unknown: what partial_chain is for.
an_authority_need_not_be_a_root(_) ->
    #{cert := Cert, key := Key, cacerts := CaCerts} = tls_case:chain("client", rsa),
    Server = start([{verify, verify_peer}, {fail_if_no_peer_cert, true}, {cacerts, [lists:last(CaCerts)]} | tls_tunnel:certificate()], #{}),
    <<>> = tls_case:get(Server, [{cert, Cert}, {key, Key}]).

%% As Plug.Cowboy gives them.
options_without_effect(_) ->
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    _ = start([
        {secure_renegotiate, true}, {honor_cipher_order, true}, {eccs, [secp256r1, secp384r1, secp521r1]},
        {reuse_sessions, true}, {dhfile, "x"}, {client_renegotiation, false}, {hibernate_after, 5000},
        {ciphers, ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384"]},
        {versions, ['tlsv1.2']} | tls_tunnel:certificate()
    ], #{}),
    probe_log:detach(),
    [] = probe:stop(Probe).

certs_keys(_) ->
    Rsa = #{cert := RsaCert, key := RsaKey} = tls_case:chain("localhost", rsa),
    #{cert := EcCert, key := EcKey} = tls_case:chain("localhost"),
    true = is_map(Rsa),
    Server = start([{certs_keys, [#{cert => EcCert, key => EcKey}, #{cert => RsaCert, key => RsaKey}]}], #{}),
    EcCert = tls_case:served(Server),
    RsaCert = tls_case:peer(tls_case:connect(Server, [{versions, ['tlsv1.2']},
        {ciphers, [ssl:str_to_suite("ECDHE-RSA-AES128-GCM-SHA256")]}])).

a_fun_for_names_is_asked_once(_) ->
    Self = self(),
    #{cert := Cert} = Chain = tls_case:chain("one.example"),
    Server = start([{sni_fun, fun(Name) -> Self ! {asked, Name}, tls_case:server(Chain) end}], #{}),
    Connect = fun(Name) -> tls_case:peer(tls_case:connect(Server, [{server_name_indication, Name}])) end,
    [Cert, Cert, Cert] = [Connect("one.example"), Connect("one.example"), Connect("two.example")],
    ok = outrider:reload_certificates(?MODULE),
    Cert = Connect("one.example"),
    ["one.example", "two.example", "one.example"] = asked().

asked() ->
    receive
        {asked, Name} -> [Name | asked()]
    after 0 -> []
    end.

a_fun_for_names_that_fails_turns_its_clients_away(_) ->
    Server = start([{sni_fun, fun
        ("crash") -> error(oops);
        ("nonsense") -> [{verify, maybe_so}];
        (_) -> undefined
    end} | tls_tunnel:certificate()], #{}),
    Connect = fun(Name) -> tls_case:peer(tls_case:connect(Server, [{server_name_indication, Name}])) end,
    [{error, unrecognized_name} = Connect(Name) || Name <- ["crash", "nonsense"]],
    true = is_binary(Connect("other")).

%%% Sessions

%% A client that has a ticket must say how it would resume (psk_key_exchange_modes); one that does not say so before it has a ticket, as
%% OTP 25's, gets none (RFC 8446, 4.2.9).
tickets_are_for_clients_that_say_how_they_resume(_) ->
    Options = [{versions, ['tlsv1.3']}, {session_tickets, auto}],
    Says = lists:member(45, extensions(Options)),
    Server = start([{session_tickets, stateless} | tls_tunnel:certificate()], #{}),
    Resumed = fun() ->
        {ok, Socket} = tls_case:connect(Server, Options),
        ok = ssl:send(Socket, http_client:request("GET", "/")),
        {ok, _} = ssl:recv(Socket, 0, 5000),
        {ok, [{session_resumption, Was}]} = ssl:connection_information(Socket, [session_resumption]),
        ssl:close(Socket),
        Was
    end,
    false = Resumed(),
    Says = Resumed().

%% The extensions that the client's first ClientHello has.
extensions(Options) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    _ = spawn_link(fun() -> {error, _} = tls_case:connect(#{port => Port}, Options) end),
    {ok, Socket} = gen_tcp:accept(Listener),
    {ok, <<22, _:32, 1, _:40, _:32/binary, S, _:S/binary, C:16, _:C/binary, M, _:M/binary, _:16, Extensions/binary>>} =
        gen_tcp:recv(Socket, 0, 5000),
    gen_tcp:close(Socket),
    [Type || <<Type:16, Size:16, _:Size/binary>> <= Extensions].

%%% Secrets

%% Neither what ps shows, nor the listener's own word, nor any report when everything is killed has a key or a password.
no_secret_is_shown(Config) ->
    Path = filename:join(proplists:get_value(priv_dir, Config), "secret.pem"),
    #{cert := Cert, key := Key = {_, Der}} = tls_case:chain("localhost"),
    Password = "correct horse battery staple",
    _ = tls_case:write(Path, [{'Certificate', Cert, not_encrypted}], [tls_case:pem_key(Key, Password)]),
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    _ = start([{certfile, Path}, {password, Password}, {certs_keys, [#{cert => Cert, key => Key}]}], #{}),
    [#{os_pid := Pid}] = maps:get(sidecars, outrider:info(?MODULE)),
    {ok, Arguments} = file:read_file("/proc/" ++ integer_to_list(Pid) ++ "/cmdline"),
    {ok, Environment} = file:read_file("/proc/" ++ integer_to_list(Pid) ++ "/environ"),
    Info = io_lib:format("~p", [outrider:info(?MODULE)]),
    Certificates = outrider_registry:certificates(?MODULE),
    Monitor = monitor(process, Certificates),
    exit(Certificates, oops),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    os_process:until(fun() ->
        try outrider_registry:certificates(?MODULE) =/= Certificates catch error:_ -> false end
    end),
    _ = sys:get_status(outrider_registry:certificates(?MODULE)),
    probe_log:detach(),
    Logged = probe:stop(Probe),
    Text = unicode:characters_to_binary([Arguments, Environment, Info, io_lib:format("~p ~w", [Logged, Logged])]),
    <<Part:8/binary, _/binary>> = binary:part(Der, 20, 20),
    [nomatch = binary:match(Text, Secret) || Secret <- [
        list_to_binary(Password), Part, iolist_to_binary(lists:join(",", [integer_to_list(B) || <<B>> <= Part]))
    ]].

%%% Bounds

failed_handshakes_are_logged_but_not_without_end(_) ->
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    #{port := Port} = start(tls_tunnel:certificate(), #{}),
    [begin
        {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
        ok = gen_tcp:send(Socket, <<22, 3, 1, 0, 4, 1, 0, 0, 0>>),
        {ok, <<21, 3, _/binary>>} = gen_tcp:recv(Socket, 0, 5000),
        {error, closed} = gen_tcp:recv(Socket, 0, 5000)
    end || _ <- lists:seq(1, 30)],
    probe_log:detach(),
    10 = length([Text || {notice, Text} <- probe:stop(Probe)]).

%% A client that does not read: what is kept of it is bounded, and it is closed in the end.
a_client_that_takes_nothing_is_closed(_) ->
    Chain = tls_tunnel:certificate(),
    Dispatch = cowboy_router:compile([{'_', [{'_', http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, cowboy_req:reply(200, #{}, binary:copy(<<0>>, 20000000), Req), State}
    end}}]}]),
    {ok, _} = outrider:start_tls(?MODULE, [{port, 0}, {send_timeout, 300}, {sndbuf, 4096} | Chain], #{env => #{dispatch => Dispatch}}),
    {ok, Socket} = tls_case:connect(#{port => outrider:get_port(?MODULE)}, [{recbuf, 4096}]),
    Before = most_memory(),
    ok = ssl:send(Socket, http_client:request("GET", "/")),
    os_process:until(fun() -> outrider:procs(?MODULE, connections) =/= [] end),
    os_process:until(fun() -> outrider:procs(?MODULE, connections) =:= [] end),
    {error, closed} = drained(Socket),
    {true, _} = {most_memory() - Before < 5000, most_memory() - Before}.

%% In kB, since the sidecar began.
most_memory() ->
    [Kilobytes, "kB"] = os_process:status(os_process:sidecar(?MODULE), "VmHWM"),
    list_to_integer(Kilobytes).

drained(Socket) ->
    case ssl:recv(Socket, 0, 5000) of
        {ok, _} -> drained(Socket);
        Error -> Error
    end.

%% The end of a connection is said inside TLS: nobody can have cut it. Cowboy says so only sometimes.
a_clean_end(_) ->
    #{port := Port} = start(tls_tunnel:certificate(), #{}),
    Said = os:cmd("printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' | "
        "openssl s_client -quiet -ign_eof -connect 127.0.0.1:" ++ integer_to_list(Port) ++ " 2>&1"),
    nomatch = string:find(Said, "unexpected eof"),
    true = string:find(Said, "HTTP/1.1 200") =/= nomatch.

%% So does a drain: of a connection between two requests, and of a WebSocket, behind its close frame. A sidecar that is killed has no
%% time for it, which shows that the client would tell.
a_clean_end_by_a_drain(_) ->
    Drained = fun() -> {ok, _} = outrider:drain(?MODULE, #{over => 0, timeout => 10000}) end,
    Killed = fun() -> os_process:signal(os_process:sidecar(?MODULE), "KILL") end,
    Get = {http_client:request("GET", "/"), "HTTP/1.1 200"},
    Upgrade = {ws_client:handshake("/ws"), "HTTP/1.1 101"},
    _ = [{Cut, _, _} = {end_of_client(Request, Version, End) =:= cut, Request, Version} || {Request, End, Cut} <- [
        {Get, Drained, false}, {Upgrade, Drained, false}, {Get, Killed, true}, {Upgrade, Killed, true}
    ], Version <- ["-tls1_2", "-tls1_3"]],
    ok.

end_of_client({Request, Answer}, Version, End) ->
    Dispatch = cowboy_router:compile([{'_', [
        {"/", http_script_h, #{silent => true, init => fun(Req, State) -> {ok, cowboy_req:reply(200, Req), State} end}},
        {"/ws", ws_bare_h, []}
    ]}]),
    {ok, _} = outrider:start_tls(?MODULE, [{port, 0} | tls_tunnel:certificate()], #{env => #{dispatch => Dispatch}}),
    Client = open_port({spawn, tls_case:openssl(outrider:get_port(?MODULE), "-quiet -ign_eof " ++ Version)}, [exit_status]),
    true = port_command(Client, Request),
    Said = tls_case:said(Client, Answer),
    {true, _} = {string:find(Said, Answer) =/= nomatch, Said},
    _ = End(),
    Rest = tls_case:said(Client, "unexpected eof"),
    _ = try outrider:stop_listener(?MODULE) catch error:badarg -> ok end,
    case string:find(Rest, "unexpected eof") of
        nomatch -> Rest;
        _ -> cut
    end.

%%% Lists of withdrawn certificates

withdrawn_certificates(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "crls"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    Run = fun(Command) -> os:cmd("cd " ++ Dir ++ " && " ++ Command ++ " 2>&1") end,
    Ec = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes ",
    Run(Ec ++ "-x509 -days 30 -subj /CN=authority -keyout ca.key -out ca.crt"),
    Client = fun(Name, Serial) ->
        Run(Ec ++ "-subj /CN=" ++ Name ++ " -keyout " ++ Name ++ ".key -out " ++ Name ++ ".csr"),
        ok = file:write_file(filename:join(Dir, "ext"), "basicConstraints=CA:FALSE\n"),
        Run("openssl x509 -req -extfile ext -days 30 -in " ++ Name ++ ".csr -CA ca.crt -CAkey ca.key -set_serial 0x" ++ Serial
            ++ " -out " ++ Name ++ ".crt"),
        [{certfile, filename:join(Dir, Name ++ ".crt")}, {keyfile, filename:join(Dir, Name ++ ".key")}]
    end,
    {Good, Bad} = {Client("good", "0A"), Client("bad", "0B")},
    Ca = {filename:join(Dir, "ca.crt"), filename:join(Dir, "ca.key")},
    ok = tls_case:crl(Dir, Ca, []),
    Server = start([{verify, verify_peer}, {fail_if_no_peer_cert, true}, {cacertfile, element(1, Ca)}, {crl_check, peer},
        {crl_cache, {ssl_crl_hash_dir, {internal, [{dir, Dir}]}}} | tls_tunnel:certificate()], #{}),
    Get = fun(Options) -> tls_case:get(Server, Options) end,
    {<<>>, <<>>} = {Get(Good), Get(Bad)},
    ok = tls_case:crl(Dir, Ca, [<<16#0b>>]),
    ok = outrider:reload_certificates(?MODULE),
    {<<>>, {error, _}} = {Get(Good), Get(Bad)}.
