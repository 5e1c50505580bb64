defmodule Client do
  @moduledoc "A WebSocket over a plain socket, its frames coded by Cowlib, and requests by httpc."

  @timeout 10_000

  @doc "The status and the body of a GET."
  def get(port, path) do
    url = String.to_charlist("http://127.0.0.1:#{port}#{path}")
    {status, _headers, body} = request(:get, {url, []})
    {status, body}
  end

  @doc "The status, the headers and the body of what httpc is asked, on a connection of its own."
  def request(method, request) do
    request = put_elem(request, 1, [{~c"connection", ~c"close"} | elem(request, 1)])
    {:ok, {{_, status, _}, headers, body}} = :httpc.request(method, request, [], body_format: :binary)
    {status, headers, body}
  end

  @doc "A WebSocket, opened."
  def open(port, path) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])

    :ok =
      :gen_tcp.send(socket, [
        "GET #{path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
        "origin: http://localhost\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
      ])

    "HTTP/1.1 101" <> _ = head(socket, "")
    socket
  end

  defp head(socket, read) do
    if String.ends_with?(read, "\r\n\r\n"), do: read, else: head(socket, read <> bytes(socket, 1))
  end

  @doc "Sends a frame of Cowboy's form."
  def send_frame(socket, frame), do: :ok = :gen_tcp.send(socket, :cow_ws.masked_frame(frame, %{}))

  @doc "The next frame: `{:text, binary}`, `{:close, code}`, …"
  def frame(socket) do
    <<1::1, 0::3, opcode::4, 0::1, length::7>> = bytes(socket, 2)

    length =
      case length do
        126 -> :binary.decode_unsigned(bytes(socket, 2))
        127 -> :binary.decode_unsigned(bytes(socket, 8))
        _ -> length
      end

    case {opcode, bytes(socket, length)} do
      {1, text} -> {:text, text}
      {2, binary} -> {:binary, binary}
      {8, <<code::16, _::binary>>} -> {:close, code}
    end
  end

  defp bytes(_socket, 0), do: ""

  defp bytes(socket, count) do
    {:ok, bytes} = :gen_tcp.recv(socket, count, @timeout)
    bytes
  end

  @doc "Waits until the fun gives something true."
  def until(fun) do
    unless fun.() do
      Process.sleep(5)
      until(fun)
    end
  end
end
