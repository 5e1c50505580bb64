%%% Makes the sidecar's TLS settings of a listener's options: reads the files, opens keys with their password, decodes PEM.
%%%
%%% Whoever calls it reads; the sidecar gets certificates and keys in DER over the port, so that it needs no right to read the files.
%%% docs/port-protocol.md, "TLS", has the shape of the settings.
-module(outrider_credentials).

-export([settings/1, host/2]).
-export_type([reason/0]).

-include_lib("public_key/include/public_key.hrl").

-type options() :: #{atom() => term()}.
-type reason() :: {options, {Option :: atom(), file:name_all() | term(), {error, term()}}}.

%% How long a chain may be that is completed from the authorities' certificates.
-define(MOST_ISSUERS, 10).

%% Of options that outrider_tls:check/1 has passed.
-spec settings([{atom(), term()}]) -> {ok, map()} | {error, reason()}.
settings(Opts0) ->
    Opts = maps:from_list(lists:reverse(Opts0)),
    try
        {ok, #{
            default => options(Opts),
            hosts => [{host_name(Name), options(for_host(HostOpts, Opts))} || {Name, HostOpts} <- maps:get(sni_hosts, Opts, [])],
            ask => is_function(maps:get(sni_fun, Opts, undefined), 1)
        }}
    catch
        throw:Reason -> {error, {options, Reason}}
    end.

%% What the listener's sni_fun says of a host: the answer of the port protocol.
-spec host(binary(), [{atom(), term()}]) -> {ok, map() | undefined} | {error, term()}.
host(Name, Opts0) ->
    Opts = #{sni_fun := Fun} = maps:from_list(lists:reverse(Opts0)),
    case Fun(unicode:characters_to_list(Name)) of
        undefined ->
            {ok, undefined};
        HostOpts ->
            case outrider_tls:check_host(HostOpts) of
                ok ->
                    try
                        {ok, options(for_host(outrider_tls:seal(HostOpts), Opts))}
                    catch
                        throw:Reason -> {error, {options, Reason}}
                    end;
                {error, _} = Error ->
                    Error
            end
    end.

%% A host has the listener's options, and its own before them; certificate and key come from one of them.
-spec for_host([{atom(), term()}], options()) -> options().
for_host(HostOpts0, Opts) ->
    HostOpts = maps:from_list(lists:reverse(HostOpts0)),
    Own = [cert, certfile, certs_keys],
    case lists:any(fun(Key) -> is_map_key(Key, HostOpts) end, Own) of
        true -> maps:merge(maps:without([key, keyfile, password | Own], Opts), HostOpts);
        false -> maps:merge(Opts, HostOpts)
    end.

host_name(Name) ->
    unicode:characters_to_binary(string:lowercase(Name)).

options(Opts) ->
    Authorities = authorities(Opts),
    maps:merge(
        #{
            identities => identities(Opts, Authorities),
            clients => clients(Opts, Authorities),
            versions => outrider_tls:versions(Opts),
            honor_cipher_order => maps:get(honor_cipher_order, Opts, false),
            alpn => outrider_tls:protocols(Opts),
            tickets => maps:get(session_tickets, Opts, disabled),
            reuse_sessions => maps:get(reuse_sessions, Opts, true) =/= false
        },
        maps:from_list([
            {Key, Value}
         || {Key, Value} <- [{ciphers, outrider_tls:ciphers(Opts)}, {groups, outrider_tls:groups(Opts)}], Value =/= default
        ])
    ).

%% Certificates and keys.

identities(#{certs_keys := Pairs}, Authorities) -> [identity(Pair, Authorities) || Pair <- Pairs];
identities(Opts = #{cert := _}, Authorities) -> [identity(Opts, Authorities)];
identities(Opts = #{certfile := _}, Authorities) -> [identity(Opts, Authorities)];
identities(_, _) -> [].

identity(Opts, Authorities) ->
    {completed(chain(Opts), Authorities), key(Opts)}.

chain(#{cert := [_ | _] = Chain}) -> Chain;
chain(#{cert := Cert}) -> [Cert];
chain(#{certfile := Path}) -> certificates(certfile, Path).

%% As OTP does: a certificate that comes alone is sent with those that vouch for it, as far as they are known.
completed([Cert], [_ | _] = Authorities) -> [Cert | issuers(Cert, Authorities, ?MOST_ISSUERS)];
completed(Chain, _) -> Chain.

issuers(_, _, 0) ->
    [];
issuers(Cert, Authorities, Most) ->
    IsIssuer = fun(Authority) -> Authority =/= Cert andalso is_issuer(Cert, Authority) end,
    case lists:filter(IsIssuer, Authorities) of
        [Issuer | _] ->
            case public_key:pkix_is_self_signed(Issuer) of
                true -> [];
                false -> [Issuer | issuers(Issuer, Authorities, Most - 1)]
            end;
        [] ->
            []
    end.

is_issuer(Cert, Authority) ->
    try
        public_key:pkix_is_issuer(Cert, Authority)
    catch
        _:_ -> false
    end.

key(Opts = #{key := Sealed}) ->
    key_of(key, hidden, outrider_secret:open(Sealed), Opts);
key(Opts = #{keyfile := Path}) ->
    key_in(keyfile, Path, Opts);
key(Opts = #{certfile := Path}) ->
    key_in(certfile, Path, Opts);
key(_) ->
    throw({key, undefined, {error, enoent}}).

key_in(Option, Path, Opts) ->
    Types = ['RSAPrivateKey', 'ECPrivateKey', 'PrivateKeyInfo', 'DSAPrivateKey'],
    case [Entry || Entry = {Type, _, _} <- entries(Option, Path), lists:member(Type, Types)] of
        [{'DSAPrivateKey', _, _} | _] -> throw({Option, Path, {error, dsa}});
        [{Type, Der, not_encrypted} | _] -> key_of(Option, Path, {Type, Der}, Opts);
        [Entry | _] -> key_of(Option, Path, opened(Option, Path, Entry, Opts), Opts);
        [] -> throw({Option, Path, {error, no_private_key}})
    end.

opened(Option, Path, Entry, Opts) ->
    try public_key:pem_entry_decode(Entry, password(Opts)) of
        Key -> {element(1, Key), public_key:der_encode(element(1, Key), Key)}
    catch
        _:_ -> throw({Option, Path, {error, password}})
    end.

password(#{password := Sealed}) -> unicode:characters_to_list(outrider_secret:open(Sealed));
password(_) -> "".

key_of(_, _, {'RSAPrivateKey', Der}, _) -> {pkcs1, Der};
key_of(_, _, {'ECPrivateKey', Der}, _) -> {sec1, Der};
key_of(_, _, {'PrivateKeyInfo', Der}, _) -> {pkcs8, Der};
key_of(Option, Path, _, _) -> throw({Option, Path, {error, no_private_key}}).

%% Clients.

clients(Opts = #{verify := verify_peer}, Authorities) ->
    #{
        verify =>
            case maps:get(fail_if_no_peer_cert, Opts, default_fail_if_no_peer_cert()) of
                true -> everybody;
                false -> willing
            end,
        authorities => Authorities,
        depth => maps:get(depth, Opts, 10),
        revocation => revocation(maps:get(crl_check, Opts, false)),
        crls => crls(maps:get(crl_check, Opts, false), Opts)
    };
clients(_, _) ->
    #{verify => nobody}.

%% As this VM's ssl has it: true since OTP 26.
default_fail_if_no_peer_cert() ->
    list_to_integer(erlang:system_info(otp_release)) >= 26.

revocation(false) -> nobody;
revocation(true) -> chain;
revocation(Check) -> Check.

authorities(#{cacerts := Certs}) -> [authority(Cert) || Cert <- Certs];
authorities(#{cacertfile := Path}) -> certificates(cacertfile, Path);
authorities(_) -> [].

%% public_key:cacerts_get/0 gives records.
authority(#cert{der = Der}) -> Der;
authority(Der) when is_binary(Der) -> Der;
authority(_) -> throw({cacerts, hidden, {error, badarg}}).

%% The lists in a folder of OpenSSL's form: HASH.rN.
crls(false, _) ->
    [];
crls(_, #{crl_cache := {ssl_crl_hash_dir, {internal, Args}}}) ->
    Dir = unicode:characters_to_list(proplists:get_value(dir, Args)),
    Paths = filelib:wildcard(filename:join(Dir, "*.r[0-9]*")),
    lists:append([crls_in(Path, content(crl_cache, Path)) || Path <- lists:sort(Paths)]).

crls_in(Path, Content = <<"-----", _/binary>>) ->
    [Der || {'CertificateList', Der, _} <- decoded(crl_cache, Path, Content)];
crls_in(_, Der) ->
    [Der].

%% Files.

certificates(Option, Path) ->
    case [Der || {'Certificate', Der, _} <- entries(Option, Path)] of
        [] -> throw({Option, Path, {error, no_certificate}});
        Certificates -> Certificates
    end.

entries(Option, Path) ->
    decoded(Option, Path, content(Option, Path)).

content(Option, Path) ->
    case file:read_file(Path) of
        {ok, Content} -> Content;
        {error, _} = Error -> throw({Option, Path, Error})
    end.

decoded(Option, Path, Content) ->
    try
        public_key:pem_decode(Content)
    catch
        _:_ -> throw({Option, Path, {error, pem}})
    end.
