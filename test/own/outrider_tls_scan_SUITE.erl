%% What a scanner finds that looks for weak TLS: versions, cipher suites, renegotiation, curves, by openssl's client,
%% which offers all that it has.
-module(outrider_tls_scan_SUITE).

-compile([export_all, nowarn_export_all]).

-define(TLS_1_2, ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]).
-define(TLS_1_3, ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]).

all() ->
    same_test:cases(?MODULE) -- [init_per_suite, end_per_suite, client, agreed].

%% One listener, with a certificate for each kind of cipher suite.
init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(outrider),
    Pair = fun(Kind) -> maps:with([cert, key], tls_case:chain("localhost", Kind)) end,
    Dispatch = cowboy_router:compile([{'_', []}]),
    {ok, Pid} = outrider:start_tls(?MODULE, [{port, 0}, {certs_keys, [Pair(ec), Pair(rsa)]},
        {log_alert, false}], #{env => #{dispatch => Dispatch}}),
    %% Else it would end with this process.
    true = is_pid(Pid),
    Config.

end_per_suite(_) ->
    outrider:stop_listener(?MODULE).

%% What the client says of a handshake with these flags; it ends behind it.
client(Flags) ->
    os:cmd(tls_case:openssl(outrider:get_port(?MODULE), Flags) ++ " </dev/null").

%% The suite that was agreed on, or the alert.
agreed(Said) ->
    case re:run(Said, "(?:Cipher is |alert )(?!number)([A-Za-z][^:\n]*)", [{capture, all_but_first, list}]) of
        {match, [Words]} -> Words;
        nomatch -> Said
    end.

%% They end at what a client of that time does not offer.
old_versions_are_refused(_) ->
    ["handshake failure", "handshake failure"] =
        [agreed(client(Version ++ " -cipher ALL:@SECLEVEL=0")) || Version <- ["-tls1", "-tls1_1"]].

each_suite_is_spoken(_) ->
    ?TLS_1_2 = [agreed(client("-tls1_2 -cipher " ++ Suite)) || Suite <- ?TLS_1_2],
    ?TLS_1_3 = [agreed(client("-tls1_3 -ciphersuites " ++ Suite)) || Suite <- ?TLS_1_3].

%% CBC, RC4, 3DES, NULL, export, anonymous; RSA and DH without an ephemeral curve: whatever this openssl still has.
no_other_suite_is_spoken(_) ->
    Good = lists:append([":!" ++ Suite || Suite <- ?TLS_1_2]),
    "handshake failure" = agreed(client("-tls1_2 -cipher 'ALL:COMPLEMENTOFALL:@SECLEVEL=0" ++ Good ++ "'")),
    "handshake failure" = agreed(client("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256")).

curves(_) ->
    _ = [{true, _} = {string:find(Said, Key) =/= nomatch, Said} || {Group, Key} <- [
        {"X25519", "Server Temp Key: X25519"}, {"P-256", "Server Temp Key: ECDH, prime256v1"},
        {"P-384", "Server Temp Key: ECDH, secp384r1"}
    ], Said <- [client("-tls1_2 -groups " ++ Group)]],
    "handshake failure" = agreed(client("-tls1_2 -groups P-521")).

renegotiation_is_refused(_) ->
    Client = open_port({spawn, tls_case:openssl(outrider:get_port(?MODULE), "-tls1_2")}, [exit_status]),
    true = port_command(Client, "R\n"),
    Said = tls_case:said(Client, "no renegotiation"),
    {true, _} = {string:find(Said, "Secure Renegotiation IS supported") =/= nomatch, Said},
    [_, After] = string:split(Said, "RENEGOTIATING"),
    {true, _} = {string:find(After, "no renegotiation") =/= nomatch, After}.
