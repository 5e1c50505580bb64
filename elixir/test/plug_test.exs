defmodule Outrider.PlugTest do
  use ExUnit.Case
  import Plug.Conn

  # What WebSockAdapter takes.
  defmodule Echo do
    def init(state), do: {:ok, state}
    def handle_in({text, [opcode: :text]}, state), do: {:push, {:text, text}, state}
    def handle_info(_message, state), do: {:ok, state}
    def terminate(_reason, _state), do: :ok
  end

  def init(options), do: options

  def call(%{path_info: ["hello"]} = conn, options), do: send_resp(conn, 200, "hello #{options[:name]}")

  def call(%{path_info: ["body"]} = conn, _) do
    {:ok, body, conn} = read_body(conn)
    send_resp(conn, 200, body)
  end

  def call(%{path_info: ["peer"]} = conn, _) do
    %{address: {127, 0, 0, 1}, ssl_cert: nil} = get_peer_data(conn)
    send_resp(conn, 200, to_string(conn.scheme))
  end

  def call(%{path_info: ["ws"]} = conn, _), do: WebSockAdapter.upgrade(conn, Echo, nil, timeout: 60_000)

  def call(%{path_info: ["crash"]}, _), do: raise("as asked")

  defp start(options) do
    start_supervised!({Outrider.Plug, options})
    :outrider.get_port(Keyword.get(options, :ref, __MODULE__.HTTP))
  end

  test "a plug answers under Plug.Cowboy's reference" do
    port = start(scheme: :http, plug: {__MODULE__, name: "you"}, options: [port: 0])
    assert Client.get(port, "/hello") == {200, "hello you"}
    assert Client.get(port, "/peer") == {200, "http"}
  end

  test "options may stand beside :scheme, and Outrider's own among the transport options" do
    ref = :a_name_of_ours
    port = start(scheme: :http, plug: __MODULE__, ref: ref, port: 0, transport_options: [max_sockets: 10])
    assert Client.get(port, "/hello") == {200, "hello "}
    assert %{max_sockets: 10, max_connections: 16_384} = :outrider.get_transport_options(ref)
  end

  test "a body is read" do
    port = start(scheme: :http, plug: __MODULE__, options: [port: 0])
    body = String.duplicate("x", 300_000)
    request = {~c"http://127.0.0.1:#{port}/body", [], ~c"text/plain", body}
    assert {200, _, ^body} = Client.request(:post, request)
  end

  test "WebSockAdapter upgrades" do
    port = start(scheme: :http, plug: __MODULE__, options: [port: 0])
    client = Client.open(port, "/ws")
    Client.send_frame(client, {:text, "over"})
    assert Client.frame(client) == {:text, "over"}
  end

  test "a plug that raises answers 500" do
    port = start(scheme: :http, plug: __MODULE__, options: [port: 0])
    assert {500, _} = Client.get(port, "/crash")
  end

  test ":compress compresses" do
    port =
      start(scheme: :http, plug: {__MODULE__, name: String.duplicate("x", 1000)}, options: [port: 0, compress: true])

    request = {~c"http://127.0.0.1:#{port}/hello", [{~c"accept-encoding", ~c"gzip"}]}
    {200, headers, body} = Client.request(:get, request)
    assert {~c"content-encoding", ~c"gzip"} in headers
    assert :zlib.gunzip(body) == "hello " <> String.duplicate("x", 1000)
  end

  test "an option that cannot be is named" do
    options = [scheme: :http, plug: __MODULE__, options: [port: 0, transport_options: [num_acceptors: :many]]]
    assert {:error, {{:bad_option, :num_acceptors}, _}} = start_supervised({Outrider.Plug, options})
  end

  test "another scheme is refused" do
    assert_raise ArgumentError, ~r/:scheme is :http or :https, not :ftp/, fn ->
      Outrider.Plug.child_spec(scheme: :ftp, plug: __MODULE__)
    end
  end

  defp vector(name), do: Path.expand("../../test/vectors/tls/" <> name, __DIR__)

  test ":https answers over TLS" do
    files = [certfile: vector("server.crt"), keyfile: vector("server.key")]
    port = start(scheme: :https, plug: __MODULE__, ref: :secure, options: [port: 0] ++ files)
    [{:Certificate, certificate, _}] = :public_key.pem_decode(File.read!(files[:certfile]))

    {:ok, socket} = :ssl.connect({127, 0, 0, 1}, port, [:binary, active: false, verify: :verify_none], 10_000)

    assert :ssl.peercert(socket) == {:ok, certificate}
    :ok = :ssl.send(socket, "GET /peer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert ["HTTP/1.1 200 OK" <> _, "https"] = String.split(all(socket), "\r\n\r\n")
  end

  defp all(socket) do
    case :ssl.recv(socket, 0, 10_000) do
      {:ok, bytes} -> bytes <> all(socket)
      {:error, :closed} -> ""
    end
  end

  test ":https with a file that is no certificate is refused, and the file named" do
    files = [certfile: vector("server.key"), keyfile: vector("server.key")]

    assert {:error, reason} =
             start_supervised({Outrider.Plug, scheme: :https, plug: __MODULE__, port: 0, options: files})

    assert inspect(reason) =~ "server.key"
  end
end
