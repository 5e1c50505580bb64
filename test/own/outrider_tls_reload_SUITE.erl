%% Certificates, keys and authorities that change while a listener runs.
-module(outrider_tls_reload_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    {ok, _} = application:ensure_all_started(outrider),
    Config.

end_per_testcase(_, _) ->
    application:unset_env(ssl, ssl_pem_cache_clean),
    try outrider:stop_listener(?MODULE) catch _:_ -> ok end,
    ok.

a_changed_file_is_served_when_it_is_asked_for(Config) ->
    {Path, Write} = file(Config, "asked.pem"),
    Old = Write(),
    Server = start([{certfile, Path}], #{sidecars => 2}),
    {ok, Open} = tls_case:connect(Server),
    Old = tls_case:served(Server),
    New = Write(),
    Old = tls_case:served(Server),
    ok = outrider:reload_certificates(?MODULE),
    [New = tls_case:served(Server) || _ <- lists:seq(1, 10)],
    %% Who is connected stays.
    ok = ssl:send(Open, http_client:request("GET", "/")),
    {ok, <<"HTTP/1.1 200", _/binary>>} = ssl:recv(Open, 0, 5000).

a_changed_file_is_served_without_a_call(Config) ->
    {Path, Write} = file(Config, "unasked.pem"),
    Old = Write(),
    ok = application:set_env(ssl, ssl_pem_cache_clean, 100),
    Server = start([{certfile, Path}], #{}),
    Old = tls_case:served(Server),
    New = Write(),
    ok = shows(New, Server).

shows(Cert, Server) ->
    os_process:until(fun() -> tls_case:served(Server) =:= Cert end).

a_broken_file_changes_nothing_and_is_said_once(Config) ->
    {Path, Write} = file(Config, "broken.pem"),
    Old = Write(),
    Server = start([{certfile, Path}], #{}),
    Probe = probe:start(),
    ok = probe_log:attach(Probe),
    try
        ok = file:write_file(Path, "nothing of the kind"),
        [{error, {options, {certfile, Path, {error, no_certificate}}}} = outrider:reload_certificates(?MODULE) || _ <- [1, 2, 3]],
        Old = tls_case:served(Server),
        %% A key of another certificate.
        #{key := Key} = tls_case:chain("other"),
        _ = tls_case:write(Path, [{'Certificate', Old, not_encrypted}], [tls_case:pem_key(Key, none)]),
        [{error, {options, {tls, _, {error, refused}}}} = outrider:reload_certificates(?MODULE) || _ <- [1, 2, 3]],
        Old = tls_case:served(Server),
        New = Write(),
        ok = outrider:reload_certificates(?MODULE),
        New = tls_case:served(Server)
    after
        probe_log:detach()
    end,
    2 = length([Text || {warning, Text} <- probe:stop(Probe)]).

a_sidecar_that_is_started_again_serves_what_was_reloaded(Config) ->
    {Path, Write} = file(Config, "again.pem"),
    _ = Write(),
    Server = start([{certfile, Path}], #{}),
    New = Write(),
    ok = outrider:reload_certificates(?MODULE),
    [#{os_pid := Pid}] = maps:get(sidecars, outrider:info(?MODULE)),
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    ok = shows(New, Server).

%% A listener of one's own supervisor leaves its rows behind, and the next one of that name may speak in the clear.
a_listener_without_tls_or_that_has_stopped_is_badarg(_) ->
    Alone = fun(Transport, SocketOpts) ->
        #{start := {Module, Function, Args}} = outrider:child_spec(?MODULE, Transport, [{port, 0} | SocketOpts], #{}),
        {ok, Pid} = apply(Module, Function, Args),
        Reloaded = reload(),
        unlink(Pid),
        Monitor = monitor(process, Pid),
        exit(Pid, shutdown),
        receive {'DOWN', Monitor, process, Pid, shutdown} -> Reloaded end
    end,
    badarg = reload(),
    ok = Alone(ranch_ssl, tls_tunnel:certificate()),
    badarg = reload(),
    badarg = Alone(ranch_tcp, []).

reload() ->
    try
        outrider:reload_certificates(?MODULE)
    catch
        error:Reason -> Reason
    end.

%% Whoever is resumed is not judged again: so with other judges nobody is.
other_authorities_forget_sessions(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    Path = fun(Name) -> filename:join(Dir, Name) end,
    #{cert := Cert, key := Key, cacerts := [Root | More]} = tls_case:chain("client", rsa),
    _ = tls_case:pem(Path("authorities.pem"), [Root]),
    _ = tls_case:write(Path("client.pem"), [{'Certificate', Der, not_encrypted} || Der <- [Cert, lists:last(More)]],
        [tls_case:pem_key(Key, none)]),
    #{port := Port} = start([{verify, verify_peer}, {fail_if_no_peer_cert, true}, {cacertfile, Path("authorities.pem")}
        | tls_tunnel:certificate()], #{}),
    Connect = fun(Flag) ->
        Said = os:cmd("(printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'; sleep 0.5) | openssl s_client -tls1_2 " ++ Flag ++ Path("session") ++ " -cert " ++ Path("client.pem") ++
            " -cert_chain " ++ Path("client.pem") ++ " -key " ++ Path("client.pem") ++
            " -connect 127.0.0.1:" ++ integer_to_list(Port) ++ " 2>/dev/null"),
        case {string:find(Said, "HTTP/1.1 200"), string:find(Said, "Reused, TLSv1.2")} of
            {nomatch, _} -> refused;
            {_, nomatch} -> new;
            {_, _} -> resumed
        end
    end,
    [new, resumed] = [Connect("-sess_out "), Connect("-sess_in ")],
    ok = outrider:reload_certificates(?MODULE),
    resumed = Connect("-sess_in "),
    #{cacerts := [Other | _]} = tls_case:chain("other", rsa),
    _ = tls_case:pem(Path("authorities.pem"), [Other]),
    ok = outrider:reload_certificates(?MODULE),
    refused = Connect("-sess_in ").

%%% Helpers

start(SocketOpts, TransOpts) ->
    tls_case:start(?MODULE, SocketOpts, TransOpts).

%% A file with the certificate of another chain each time, and its key.
file(Config, Name) ->
    Path = filename:join(proplists:get_value(priv_dir, Config), Name),
    {Path, fun() ->
        #{cert := Cert, key := Key} = tls_case:chain("localhost"),
        _ = tls_case:write(Path, [{'Certificate', Cert, not_encrypted}], [tls_case:pem_key(Key, none)]),
        Cert
    end}.
