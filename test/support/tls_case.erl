%% Certificates for tests of TLS, and clients that show what a handshake brings.
-module(tls_case).

-export([chain/1, chain/2, server/1, pem/2, pem_key/2, write/3, start/3, served/1]).
-export([connect/1, connect/2, get/1, get/2, peer/1, crl/3, openssl/2, said/2]).

%% The authorities are the root and the one between.
-type chain() :: #{cert := binary(), key := {atom(), binary()}, cacerts := [binary()]}.
-export_type([chain/0]).

%% A chain for a host: root, one certificate between, the host's own. Keys are of P-256.
-spec chain(string()) -> chain().
chain(Host) ->
    chain(Host, ec).

%% The same with a key of RSA for the host, or of P-256. openssl makes them: public_key's own for tests name the curve twice in
%% OTP 25, and leave out the parameters of RSA (RFC 3279, 2.3.1) in OTP 29, which nobody but OTP takes for good certificates.
-spec chain(string(), ec | rsa) -> chain().
chain(Host, Kind) ->
    Dir = string:trim(os:cmd("mktemp -d")),
    Path = fun(Name) -> filename:join(Dir, Name) end,
    ok = file:write_file(Path("extensions"), [
        "[ca]\nbasicConstraints=critical,CA:TRUE\n[host]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:", Host, "\n"
    ]),
    Commands = [
        certificate("root", ec, "ca", "root"), certificate("between", ec, "ca", "root"), certificate(Host, Kind, "host", "between")
    ],
    Said = os:cmd("cd " ++ Dir ++ " && set -e; exec 2>&1; " ++ lists:append(Commands)),
    try
        [[Root], [Between], [Cert]] = [entries(Path(Name ++ ".crt")) || Name <- ["root", "between", Host]],
        [KeyEntry] = entries(Path(Host ++ ".key")),
        Key = public_key:pem_entry_decode(KeyEntry),
        #{
            cert => der(Cert), key => {element(1, Key), public_key:der_encode(element(1, Key), Key)},
            cacerts => [der(Root), der(Between)]
        }
    catch
        error:_ -> error({openssl, Said})
    after
        file:del_dir_r(Dir)
    end.

%% The commands that make NAME.key and NAME.crt in the working folder, signed with the key of the issuer: its own, if it is that.
certificate(Name, Kind, Extensions, Issuer) ->
    Key = case Kind of
        ec -> "ec -pkeyopt ec_paramgen_curve:prime256v1";
        rsa -> "rsa:2048"
    end,
    Signed = case Issuer of
        Name -> "-signkey " ++ Name ++ ".key";
        _ -> "-CA " ++ Issuer ++ ".crt -CAkey " ++ Issuer ++ ".key -set_serial 0x" ++ serial()
    end,
    lists:flatten(io_lib:format(
        "openssl req -new -nodes -newkey ~s -subj '/CN=~s' -keyout ~s.key -out ~s.csr; "
        "openssl x509 -req -sha256 -days 30 -in ~s.csr -extfile extensions -extensions ~s ~s -out ~s.crt; ",
        [Key, Name, Name, Name, Name, Extensions, Signed, Name]
    )).

serial() ->
    binary_to_list(binary:encode_hex(crypto:strong_rand_bytes(8))).

entries(Path) ->
    {ok, Pem} = file:read_file(Path),
    public_key:pem_decode(Pem).

der({'Certificate', Der, not_encrypted}) ->
    Der.

%% A listener's options for this chain: the certificate comes with the one that vouches for it.
-spec server(chain()) -> [{atom(), term()}].
server(#{cert := Cert, key := Key, cacerts := CaCerts}) ->
    [{cert, [Cert | tl(CaCerts)]}, {key, Key}].

-spec pem(file:name_all(), [binary()]) -> file:name_all().
pem(Path, Certs) ->
    write(Path, [{'Certificate', Der, not_encrypted} || Der <- Certs], []).

%% A key, encrypted with a password, or in the clear.
-spec pem_key({atom(), binary()}, string() | none) -> public_key:pem_entry().
pem_key({Type, Der}, none) ->
    {Type, Der, not_encrypted};
pem_key({Type, Der}, Password) ->
    Cipher = {"AES-256-CBC", crypto:strong_rand_bytes(16)},
    public_key:pem_entry_encode(Type, public_key:der_decode(Type, Der), {Cipher, Password}).

-spec write(file:name_all(), [public_key:pem_entry()], [public_key:pem_entry()]) -> file:name_all().
write(Path, Entries, More) ->
    ok = file:write_file([Path, ".new"], public_key:pem_encode(Entries ++ More)),
    ok = file:rename([Path, ".new"], Path),
    Path.

%% A listener of Outrider with these options, which answers every request with 200.
-spec start(ranch:ref(), [term()], map()) -> same_test:server().
start(Ref, SocketOpts, TransOpts) ->
    Dispatch = cowboy_router:compile([{'_', [{'_', http_script_h, #{silent => true, init => fun(Req, State) ->
        {ok, cowboy_req:reply(200, Req), State}
    end}}]}]),
    {ok, _} = outrider:start_tls(Ref, TransOpts#{socket_opts => [{port, 0} | SocketOpts]}, #{env => #{dispatch => Dispatch}}),
    #{port => outrider:get_port(Ref)}.

%% The certificate that a new client is shown.
-spec served(same_test:server()) -> binary() | {error, term()}.
served(Server) ->
    peer(connect(Server)).

-spec connect(same_test:server()) -> {ok, ssl:sslsocket()} | {error, term()}.
connect(Server) ->
    connect(Server, []).

%% What is wrong is shown by the alert's name, whoever has sent it.
-spec connect(same_test:server(), [term()]) -> {ok, ssl:sslsocket()} | {error, term()}.
connect(#{port := Port}, Options) ->
    Default = [{verify, verify_none} || not lists:keymember(verify, 1, Options)],
    case ssl:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {log_level, none} | Default ++ Options], 5000) of
        {ok, Socket} -> {ok, Socket};
        {error, {tls_alert, {Alert, _}}} -> {error, Alert};
        {error, Reason} -> {error, Reason}
    end.

-spec get(same_test:server()) -> binary() | {error, term()}.
get(Server) ->
    get(Server, []).

%% What a GET gets, to the end of the connection: an alert shows here in TLS 1.3, where the client is ready before the server.
-spec get(same_test:server(), [term()]) -> binary() | {error, term()}.
get(Server, Options) ->
    case connect(Server, Options) of
        {ok, Socket} ->
            _ = ssl:send(Socket, http_client:request("GET", "/", [{"connection", "close"}], <<>>)),
            body(all(Socket, <<>>));
        Error ->
            Error
    end.

all(Socket, Bytes) ->
    case ssl:recv(Socket, 0, 5000) of
        {ok, More} -> all(Socket, <<Bytes/binary, More/binary>>);
        {error, closed} when Bytes =/= <<>> -> Bytes;
        {error, {tls_alert, {Alert, _}}} -> {error, Alert};
        Error -> Error
    end.

body(Bytes) when is_binary(Bytes) ->
    [_, Body] = binary:split(Bytes, <<"\r\n\r\n">>),
    Body;
body(Error) ->
    Error.

%% The certificate that the server shows for these options.
-spec peer({ok, ssl:sslsocket()} | {error, term()}) -> binary() | {error, term()}.
peer({ok, Socket}) ->
    {ok, Cert} = ssl:peercert(Socket),
    ssl:close(Socket),
    Cert;
peer(Error) ->
    Error.

%% A list of withdrawn certificates by an issuer, made by openssl: {Path of the issuer's certificate, of its key}.
-spec crl(file:name_all(), {file:name_all(), file:name_all()}, [binary()]) -> ok.
crl(Dir, {CaCert, CaKey}, Serials) ->
    Index = [["R\t491231235959Z\t240101000000Z\t", binary:encode_hex(Serial), "\tunknown\t/CN=x\n"] || Serial <- Serials],
    ok = file:write_file(filename:join(Dir, "index.txt"), Index),
    ok = file:write_file(filename:join(Dir, "ca.cnf"), [
        "[ca]\ndefault_ca=d\n[d]\ndatabase=", filename:join(Dir, "index.txt"),
        "\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=e\ncrlnumber=", filename:join(Dir, "number"),
        "\n[e]\nauthorityKeyIdentifier=keyid:always\n"
    ]),
    ok = file:write_file(filename:join(Dir, "number"), "01\n"),
    Command = lists:flatten(io_lib:format(
        "openssl ca -config ~s/ca.cnf -gencrl -cert ~s -keyfile ~s -out ~s/list.r0 2>&1", [Dir, CaCert, CaKey, Dir]
    )),
    Said = os:cmd(Command),
    filelib:is_regular(filename:join(Dir, "list.r0")) orelse error({openssl, Said}),
    ok.

%% The command of openssl's client with these flags, for a shell or a port.
-spec openssl(inet:port_number(), string()) -> string().
openssl(Port, Flags) ->
    lists:concat(["timeout 20 openssl s_client -connect 127.0.0.1:", Port, " ", Flags, " 2>&1"]).

%% What a program says up to these words, or up to its end.
-spec said(port(), string()) -> string().
said(Program, Words) ->
    said(Program, Words, "").

said(Program, Words, Before) ->
    receive
        {Program, {data, More}} ->
            Said = Before ++ More,
            case string:find(Said, Words) of
                nomatch -> said(Program, Words, Said);
                _ -> Said
            end;
        {Program, {exit_status, _}} ->
            Before
    end.
